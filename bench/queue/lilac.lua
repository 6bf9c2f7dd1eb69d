-- One producer, one consumer, a bounded queue: CPU per item.
local lilac = require "lilac"

local count, bound = tonumber(arg[1]), tonumber(arg[2])

local function produce(queue)
  for i = 1, count do queue:put(i) end
end

local function consume(queue)
  local sum = 0
  for _ = 1, count do sum = sum + queue:get() end
  assert(sum == count * (count + 1) // 2)
end

local queue = lilac.Queue(bound)
local start = os.clock()
lilac.gather(lilac.create_task(produce, queue), lilac.create_task(consume, queue))
print("ns", (os.clock() - start) / count * 1e9)
