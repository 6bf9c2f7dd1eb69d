import asyncio
import gc
import sys
import time

count = int(sys.argv[1])


async def work(seconds):
    await asyncio.sleep(seconds)


async def main():
    tasks = [asyncio.create_task(work(3600)) for _ in range(count)]
    await asyncio.sleep(0)
    gc.collect()
    start = time.process_time()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    print("ns", (time.process_time() - start) / count * 1e9)
    assert tasks[0].cancelled() and tasks[-1].cancelled()


asyncio.run(main())
