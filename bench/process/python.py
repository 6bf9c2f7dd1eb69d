import asyncio
import sys
import time

AT_A_TIME = 8
count = int(sys.argv[1])
left = count


async def work():
    global left
    while left > 0:
        left -= 1
        process = await asyncio.create_subprocess_exec("true")
        assert await process.wait() == 0


async def main():
    start = time.monotonic()
    await asyncio.gather(*[work() for _ in range(AT_A_TIME)])
    print("us", (time.monotonic() - start) / count * 1e6)


asyncio.run(main())
