import queue
import sys
import threading
import time

count, bound = int(sys.argv[1]), int(sys.argv[2])
channel = queue.Queue(bound)


def produce():
    for i in range(1, count + 1):
        channel.put(i)


start = time.monotonic()
producer = threading.Thread(target=produce)
producer.start()
total = 0
for _ in range(count):
    total += channel.get()
producer.join()
assert total == count * (count + 1) // 2
print("ns", (time.monotonic() - start) / count * 1e9)
