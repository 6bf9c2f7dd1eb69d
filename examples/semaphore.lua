-- Ten jobs, at most three at a time. The permit is a scope: however the job ends, it is given back.

local lilac = require "lilac"

local permits = lilac.Semaphore(3)
local running, most, finished, failed = 0, 0, 0, 0

local function job(number)
  local _ <close> = permits:acquire() -- first come, first served
  running = running + 1
  most = math.max(most, running)
  lilac.sleep(0.02)
  running = running - 1
  if number == 7 then error("job 7 is broken") end
  return number
end

local jobs = {}
for number = 1, 10 do
  jobs[number] = function() return job(number) end
end
for _, outcome in ipairs(lilac.gather(jobs, { return_exceptions = true })) do
  if math.type(outcome) then finished = finished + 1 else failed = failed + 1 end
end

print(("finished %d, failed %d"):format(finished, failed))
print("most at a time: " .. most)
print("free permits: " .. permits:value())
