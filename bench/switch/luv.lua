-- luv has no tasks: a coroutine that waits for a timer.
local uv = require "luv"

local switches = tonumber(arg[1])

local function sleep(ms)
  local co = coroutine.running()
  local timer = uv.new_timer()
  timer:start(ms, 0, function()
    timer:close()
    assert(coroutine.resume(co))
  end)
  coroutine.yield()
end

local function spin(turns)
  for _ = 1, turns do sleep(0) end
end

local start = os.clock()
coroutine.wrap(spin)(switches // 2)
coroutine.wrap(spin)(switches // 2)
uv.run()
print("ns", (os.clock() - start) / switches * 1e9)
