import asyncio
import sys
import time

CLIENTS = 50
count = int(sys.argv[1])


async def leave(reader, writer):
    writer.close()


async def visit(port):
    for _ in range(count // CLIENTS):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await reader.read(65536) == b""
        writer.close()


async def main():
    start = time.process_time()
    server = await asyncio.start_server(leave, "127.0.0.1", 0, backlog=1024)
    port = server.sockets[0].getsockname()[1]
    await asyncio.gather(*[visit(port) for _ in range(CLIENTS)])
    print("us", (time.process_time() - start) / count * 1e6)


asyncio.run(main())
