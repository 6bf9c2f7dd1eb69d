import asyncio
import sys
import time

count, bound = int(sys.argv[1]), int(sys.argv[2])


async def produce(queue):
    for i in range(1, count + 1):
        await queue.put(i)


async def consume(queue):
    total = 0
    for _ in range(count):
        total += await queue.get()
    assert total == count * (count + 1) // 2


async def main():
    queue = asyncio.Queue(bound)
    start = time.process_time()
    await asyncio.gather(produce(queue), consume(queue))
    print("ns", (time.process_time() - start) / count * 1e9)


asyncio.run(main())
