import asyncio
import re
import sys
import time

count = int(sys.argv[1])


async def work(seconds):
    await asyncio.sleep(seconds)


def peak_rss_kib():
    with open("/proc/self/status") as file:
        return int(re.search(r"VmHWM:\s*(\d+)", file.read())[1])


async def main():
    start = time.process_time()
    async with asyncio.TaskGroup() as group:
        for i in range(1, count + 1):
            group.create_task(work(i * 0.6180339887498949 % 1 * 2))
    print("ns", (time.process_time() - start) / count * 1e9)
    print("bytes", peak_rss_kib() * 1024 / count)


asyncio.run(main())
