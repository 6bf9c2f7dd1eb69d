-- luv has no tasks: a coroutine that waits for a timer.
local uv = require "luv"

local count = tonumber(arg[1])

local function sleep(seconds)
  local co = coroutine.running()
  local timer = uv.new_timer()
  timer:start(math.ceil(seconds * 1000), 0, function()
    timer:close()
    assert(coroutine.resume(co))
  end)
  coroutine.yield()
end

local function work(seconds) sleep(seconds) end

local function peak_rss_kib()
  local file <close> = io.open("/proc/self/status")
  return tonumber(file:read("a"):match("VmHWM:%s*(%d+)"))
end

local start = os.clock()
for i = 1, count do
  coroutine.wrap(work)(i * 0.6180339887498949 % 1 * 2)
end
uv.run()
print("ns", (os.clock() - start) / count * 1e9)
print("bytes", peak_rss_kib() * 1024 / count)
