local cqueues = require "cqueues"

local count = tonumber(arg[1])

local function work(seconds) cqueues.sleep(seconds) end

local function peak_rss_kib()
  local file <close> = io.open("/proc/self/status")
  return tonumber(file:read("a"):match("VmHWM:%s*(%d+)"))
end

local loop = cqueues.new()
local start = os.clock()
for i = 1, count do
  loop:wrap(work, i * 0.6180339887498949 % 1 * 2)
end
assert(loop:loop())
print("ns", (os.clock() - start) / count * 1e9)
print("bytes", peak_rss_kib() * 1024 / count)
