-- Two tasks that take turns: CPU per switch.
local lilac = require "lilac"
local sleep = lilac.sleep

local switches = tonumber(arg[1])

local function spin(turns)
  for _ = 1, turns do sleep(0) end
end

local start = os.clock()
local first = lilac.create_task(spin, switches // 2)
local second = lilac.create_task(spin, switches // 2)
lilac.gather(first, second)
print("ns", (os.clock() - start) / switches * 1e9)
