import asyncio
import sys
import time

BATCH = 1000
count = int(sys.argv[1])


async def work(i):
    return i


async def main():
    start = time.process_time()
    for _ in range(count // BATCH):
        results = await asyncio.gather(*[work(i) for i in range(BATCH)])
        assert results[-1] == BATCH - 1
    print("ns", (time.process_time() - start) / count * 1e9)


asyncio.run(main())
