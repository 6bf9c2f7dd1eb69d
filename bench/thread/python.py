import asyncio
import sys
import time

count, in_flight = int(sys.argv[1]), int(sys.argv[2])
left = count


def nothing():
    pass


async def work():
    global left
    while left > 0:
        left -= 1
        await asyncio.to_thread(nothing)


async def main():
    start = time.monotonic()
    await asyncio.gather(*(work() for _ in range(in_flight)))
    print("ns", (time.monotonic() - start) / count * 1e9)


asyncio.run(main())
