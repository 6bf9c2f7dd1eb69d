-- Numbers through a channel, from a thread to the main one: wall time per item.
local lilac = require "lilac"

local count, bound = tonumber(arg[1]), tonumber(arg[2])
local channel = lilac.Channel(bound)

local function produce()
  for i = 1, count do channel:put(i) end
end

lilac.to_thread(type, 1) -- the thread is there
local start = lilac.time()
local producer = lilac.create_task(lilac.to_thread, produce)
local sum = 0
for _ = 1, count do sum = sum + channel:get() end
producer:await()
assert(sum == count * (count + 1) // 2)
print("ns", (lilac.time() - start) / count * 1e9)
