-- outcome(task) → "done", "failed" or "cancelled": how the task ends, which is waited for.

local lilac = require "lilac"
local assert = require "luassert"

return function(task)
  lilac.wait({ task }, { timeout = 5 })
  assert.is_true(task:done(), tostring(task))
  return task:cancelled() and "cancelled" or task:failed() and "failed" or "done"
end
