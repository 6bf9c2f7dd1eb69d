-- Tasks that sleep 0 to 2 s, created at once: CPU and peak memory per task, creation included.
local lilac = require "lilac"

local count = tonumber(arg[1])

local left, over = count, lilac.Event()

local function work(seconds)
  lilac.sleep(seconds)
  left = left - 1
  if left == 0 then over:set() end
end

local function peak_rss_kib()
  local file <close> = io.open("/proc/self/status")
  return tonumber(file:read("a"):match("VmHWM:%s*(%d+)"))
end

local start = os.clock()
for i = 1, count do
  lilac.create_task(work, i * 0.6180339887498949 % 1 * 2)
end
over:wait()
print("ns", (os.clock() - start) / count * 1e9)
print("bytes", peak_rss_kib() * 1024 / count)
