import asyncio
import sys
import time

kind, count, path = sys.argv[1], int(sys.argv[2]), sys.argv[3]


async def read_chunks():
    size = 0
    with await asyncio.to_thread(open, path, "rb", buffering=0) as file:
        while chunk := await asyncio.to_thread(file.read, 65536):
            size += len(chunk)


async def read_lines():
    size = 0
    with await asyncio.to_thread(open, path, "rb") as file:
        # A thread for every line would be no fair way to do it.
        while lines := await asyncio.to_thread(file.readlines, 262144):
            for line in lines:
                size += len(line)


def read_file(name):
    with open(name, "rb") as file:
        return file.read()


async def read_small():
    left = count

    async def reader():
        nonlocal left
        while left > 0:
            left -= 1
            await asyncio.to_thread(read_file, f"{path}/{left % 1000 + 1}")

    await asyncio.gather(*(reader() for _ in range(16)))


async def main():
    wall, cpu = time.perf_counter(), time.process_time()
    await {"chunks": read_chunks, "lines": read_lines, "small": read_small}[kind]()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    pieces, unit = (count * 16384, 1e9) if kind == "lines" else (count, 1e6)
    print("wall", wall / pieces * unit)
    print("cpu", cpu / pieces * unit)


asyncio.run(main())
