local cqueues = require "cqueues"
local condition = require "cqueues.condition"

local count, bound = tonumber(arg[1]), tonumber(arg[2])

local Queue = {}
Queue.__index = Queue

local function queue_new(size)
  local queue = {head = 1, tail = 0, size = size, changed = condition.new()}
  return setmetatable(queue, Queue)
end

function Queue:put(item)
  while self.tail - self.head + 1 == self.size do self.changed:wait() end
  self.tail = self.tail + 1
  self[self.tail] = item
  self.changed:signal()
end

function Queue:get()
  while self.tail < self.head do self.changed:wait() end
  local item = self[self.head]
  self[self.head] = nil
  self.head = self.head + 1
  self.changed:signal()
  return item
end

local function produce(queue)
  for i = 1, count do queue:put(i) end
end

local function consume(queue)
  local sum = 0
  for _ = 1, count do sum = sum + queue:get() end
  assert(sum == count * (count + 1) // 2)
end

local loop, queue = cqueues.new(), queue_new(bound)
local start = os.clock()
loop:wrap(produce, queue)
loop:wrap(consume, queue)
assert(loop:loop())
print("ns", (os.clock() - start) / count * 1e9)
