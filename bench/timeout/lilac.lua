-- Tasks that wait under timeout(0.001) for what never comes, `waits` times each: CPU per wait, the
-- creation of the tasks included.
local lilac = require "lilac"

local count, waits = tonumber(arg[1]), tonumber(arg[2])
local never = lilac.Event()
local expired = 0

local function wait()
  local _ <close> = lilac.timeout(0.001)
  never:wait()
end

local function work()
  for _ = 1, waits do
    if not pcall(wait) then expired = expired + 1 end
  end
end

local tasks = {}
local start = os.clock()
for i = 1, count // waits do
  tasks[i] = lilac.create_task(work)
end
lilac.gather(tasks)
print("ns", (os.clock() - start) / count * 1e9)
assert(expired == count)
