-- cancelled_early(fn, …): cancels many calls of fn, which opens something, when they have just
-- begun. Raises unless no descriptor is left open; what some of them have opened nevertheless is
-- closed.

local lilac = require "lilac"
local descriptors = require "spec.support.descriptors"
local eventually = require "spec.support.eventually"

return function(fn, ...)
  local before, tasks = descriptors(), {}
  for i = 1, 50 do tasks[i] = lilac.create_task(fn, ...) end
  lilac.sleep(0)
  for _, task in ipairs(tasks) do task:cancel() end
  lilac.wait(tasks)
  for _, task in ipairs(tasks) do
    if not task:cancelled() then task:await():close() end
  end
  eventually(function() return descriptors() == before end)
end
