local cqueues = require "cqueues"
local sleep = cqueues.sleep

local switches = tonumber(arg[1])
local loop = cqueues.new()

local function spin(turns)
  for _ = 1, turns do sleep(0) end
end

local start = os.clock()
loop:wrap(spin, switches // 2)
loop:wrap(spin, switches // 2)
assert(loop:loop())
print("ns", (os.clock() - start) / switches * 1e9)
