local cqueues = require "cqueues"
local condition = require "cqueues.condition"

local PERMITS <const>, ACQUIRES <const> = 10, 20
local count = tonumber(arg[1])

local Semaphore = {}
Semaphore.__index = Semaphore

local function semaphore_new(permits)
  return setmetatable({free = permits, freed = condition.new()}, Semaphore)
end

function Semaphore:acquire()
  while self.free == 0 do self.freed:wait() end
  self.free = self.free - 1
end

function Semaphore:release()
  self.free = self.free + 1
  self.freed:signal(1)
end

local function work(semaphore)
  for _ = 1, ACQUIRES do
    semaphore:acquire()
    cqueues.sleep(0)
    semaphore:release()
  end
end

local loop, semaphore = cqueues.new(), semaphore_new(PERMITS)
local start = os.clock()
for _ = 1, count do
  loop:wrap(work, semaphore)
end
assert(loop:loop())
print("ns", (os.clock() - start) / (count * ACQUIRES) * 1e9)
