-- Many tasks, ten permits, twenty acquires each, every holder lets the others run: CPU per acquire.
local lilac = require "lilac"

local PERMITS <const>, ACQUIRES <const> = 10, 20
local count = tonumber(arg[1])

local function work(semaphore)
  for _ = 1, ACQUIRES do
    local _ <close> = semaphore:acquire()
    lilac.sleep(0)
  end
end

local semaphore, tasks = lilac.Semaphore(PERMITS), {}
local start = os.clock()
for i = 1, count do
  tasks[i] = lilac.create_task(work, semaphore)
end
lilac.gather(tasks)
print("ns", (os.clock() - start) / (count * ACQUIRES) * 1e9)
