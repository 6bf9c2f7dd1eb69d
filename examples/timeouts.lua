-- Timeouts in all forms: a scope, a function that raises, one that does not, one around a task.
-- On expiry the body is cancelled where it awaits, its <close> variables run, then it is left.

local lilac = require "lilac"

local function slowly(seconds, result)
  lilac.sleep(seconds)
  return result
end

-- The scope. What leaves it is a TimeoutError.
print(pcall(function()
  local _ <close> = lilac.timeout(0.05)
  slowly(60)
end))

-- It can be moved while it runs.
do
  local timeout <close> = lilac.timeout(0.05)
  timeout:reschedule(lilac.time() + 60)
  print(slowly(0.1, "the scope has more time"))
end

-- The function forms: results, or an error; and the quiet one, whose first result tells.
print(lilac.timeout(60, slowly, 0.01, "in time"))
print(pcall(lilac.timeout, 0.05, slowly, 60))
print(lilac.move_on_after(60, slowly, 0.01, "in time"))
print(lilac.move_on_after(0.05, slowly, 60))

-- Around a task, which is cancelled, and has ended when the error is raised.
local task = lilac.create_task(slowly, 60)
print(pcall(lilac.wait_for, task, 0.05))
print(task:cancelled())

-- Of nested ones the outer keeps its word, and each absorbs only its own.
print(pcall(function()
  local _ <close> = lilac.timeout(0.05)
  local _ <close> = lilac.timeout(60)
  slowly(60)
end))

-- With `interrupt` it also stops code that never awaits.
print(pcall(lilac.timeout, 0.05, { interrupt = true }, function()
  while true do end
end))
