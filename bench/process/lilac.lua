-- Processes, started and waited for, eight at a time: wall time per process.
local lilac = require "lilac"

local AT_A_TIME <const> = 8
local count = tonumber(arg[1])
local left = count

local function work()
  while left > 0 do
    left = left - 1
    assert(lilac.process.spawn { "true" }:wait() == 0)
  end
end

local start = lilac.time()
local workers = {}
for i = 1, AT_A_TIME do workers[i] = work end
lilac.gather(workers)
print("us", (lilac.time() - start) / count * 1e6)
