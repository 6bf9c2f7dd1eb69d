-- One producer, three consumers. The queue holds four items: the producer waits when the consumers
-- fall behind. shutdown() tells them that nothing more comes; each loop ends when it is empty.

local lilac = require "lilac"

local queue = lilac.Queue(4)
local fullest, total, counts = 0, 0, {}

local function produce()
  for number = 1, 30 do
    queue:put(number)
    fullest = math.max(fullest, queue:qsize())
  end
  queue:shutdown()
end

local function consume(name)
  counts[name] = 0
  for number in queue:iter() do
    lilac.sleep(0.01) -- the work
    total = total + number
    counts[name] = counts[name] + 1
  end
end

do
  local group <close> = lilac.TaskGroup()
  group:create_task(produce)
  for _, name in ipairs { "ann", "bob", "cid" } do group:create_task(consume, name) end
end

print("total: " .. total)
print("most in the queue: " .. fullest)
for _, name in ipairs { "ann", "bob", "cid" } do
  print(name .. " had work: " .. tostring(counts[name] > 0))
end
