import asyncio
import sys
import time

count, waits = int(sys.argv[1]), int(sys.argv[2])
expired = 0


async def work(never):
    global expired
    for _ in range(waits):
        try:
            async with asyncio.timeout(0.001):
                await never.wait()
        except TimeoutError:
            expired += 1


async def main():
    never = asyncio.Event()
    start = time.process_time()
    await asyncio.gather(*[work(never) for _ in range(count // waits)])
    print("ns", (time.process_time() - start) / count * 1e9)
    assert expired == count


asyncio.run(main())
