import asyncio
import sys
import time

CLIENTS = 50
count, size = int(sys.argv[1]), int(sys.argv[2])
message = b"x" * size


class Server(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        self.transport.sendto(data, address)


class Client(asyncio.DatagramProtocol):
    def __init__(self):
        self.left = count // CLIENTS
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        transport.sendto(message)

    def datagram_received(self, data, address):
        assert len(data) == size
        self.left -= 1
        if self.left == 0:
            self.done.set_result(None)
        else:
            self.transport.sendto(message)


async def main():
    loop = asyncio.get_running_loop()
    start = time.process_time()
    server, _ = await loop.create_datagram_endpoint(Server, local_addr=("127.0.0.1", 0))
    address = server.get_extra_info("sockname")
    clients = []
    for _ in range(CLIENTS):
        _, client = await loop.create_datagram_endpoint(Client, remote_addr=address)
        clients.append(client.done)
    await asyncio.gather(*clients)
    print("us", (time.process_time() - start) / count * 1e6)


asyncio.run(main())
