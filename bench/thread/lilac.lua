-- Empty functions in threads, so many in flight: wall time per call, there and back.
local lilac = require "lilac"

local count, in_flight = tonumber(arg[1]), tonumber(arg[2])

local function nothing() end

local left = count
local function work()
  while left > 0 do
    left = left - 1
    lilac.to_thread(nothing)
  end
end

local tasks = {}
local start = lilac.time()
for i = 1, in_flight do tasks[i] = lilac.create_task(work) end
lilac.gather(tasks)
print("ns", (lilac.time() - start) / count * 1e9)
