import asyncio
import sys
import time

switches = int(sys.argv[1])


async def spin(turns):
    for _ in range(turns):
        await asyncio.sleep(0)


async def main():
    start = time.process_time()
    await asyncio.gather(spin(switches // 2), spin(switches // 2))
    print("ns", (time.process_time() - start) / switches * 1e9)


asyncio.run(main())
