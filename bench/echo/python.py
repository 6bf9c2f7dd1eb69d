import asyncio
import sys


async def echo(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def main():
    if len(sys.argv) > 1:
        server = await asyncio.start_unix_server(echo, sys.argv[1])
        print(sys.argv[1], flush=True)
    else:
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
