import asyncio
import sys
import time

PERMITS, ACQUIRES = 10, 20
count = int(sys.argv[1])


async def work(semaphore):
    for _ in range(ACQUIRES):
        async with semaphore:
            await asyncio.sleep(0)


async def main():
    semaphore = asyncio.Semaphore(PERMITS)
    start = time.process_time()
    await asyncio.gather(*[work(semaphore) for _ in range(count)])
    print("ns", (time.process_time() - start) / (count * ACQUIRES) * 1e9)


asyncio.run(main())
