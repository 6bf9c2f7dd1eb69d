-- Sleeping tasks are cancelled and joined: CPU per task, their creation not counted.
local lilac = require "lilac"

local count = tonumber(arg[1])

local function work(seconds) lilac.sleep(seconds) end

local tasks = {}
for i = 1, count do
  tasks[i] = lilac.create_task(work, 3600)
end
lilac.sleep(0)
collectgarbage() -- a cycle that their creation has brought near is not part of this

local start = os.clock()
for i = 1, count do tasks[i]:cancel() end
lilac.gather(tasks, {return_exceptions = true})
print("ns", (os.clock() - start) / count * 1e9)
assert(tasks[1]:cancelled() and tasks[count]:cancelled())
