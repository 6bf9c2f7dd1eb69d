-- Asks three mirrors at once, takes the answer that comes first and cancels the rest.
-- `wait` cancels nothing by itself, so that the losers can be told, and waited for.

local lilac = require "lilac"

local function ask(mirror, seconds)
  lilac.sleep(seconds)
  return mirror .. " has answered"
end

local tasks = {}
for mirror, seconds in pairs { north = 0.3, south = 0.1, west = 0.5 } do
  local task = lilac.create_task(ask, mirror, seconds)
  task.name = mirror
  tasks[#tasks + 1] = task
end
table.sort(tasks, function(a, b) return a.name < b.name end)

local done, pending = lilac.wait(tasks, { return_when = "FIRST_COMPLETED" })
print(done[1]:result())

for _, task in ipairs(pending) do task:cancel("too late") end
local outcomes = lilac.gather(pending, { return_exceptions = true }) -- until all have ended
for i, err in ipairs(outcomes) do print(pending[i].name .. ": " .. err.message) end
