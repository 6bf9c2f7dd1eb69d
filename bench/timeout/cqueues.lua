local cqueues = require "cqueues"
local condition = require "cqueues.condition"

local count, waits = tonumber(arg[1]), tonumber(arg[2])
local never = condition.new()
local expired = 0

local function work()
  for _ = 1, waits do
    if not never:wait(0.001) then expired = expired + 1 end
  end
end

local loop = cqueues.new()
local start = os.clock()
for _ = 1, count // waits do
  loop:wrap(work)
end
assert(loop:loop())
print("ns", (os.clock() - start) / count * 1e9)
assert(expired == count)
