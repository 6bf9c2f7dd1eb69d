-- Short tasks, created and gathered a thousand at a time: CPU per task.
local lilac = require "lilac"

local BATCH <const> = 1000
local count = tonumber(arg[1])

local function work(i) return i end

local start = os.clock()
for _ = 1, count // BATCH do
  local tasks = {}
  for i = 1, BATCH do
    tasks[i] = lilac.create_task(work, i)
  end
  assert(lilac.gather(tasks)[BATCH] == BATCH)
end
print("ns", (os.clock() - start) / count * 1e9)
