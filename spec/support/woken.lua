-- woken(task) → whether the task was caught between being woken and going on: what happens to it
-- now comes in between. Lets others run until then; with --shuffle it may be gone before it is
-- seen.

local lilac = require "lilac"

local PATIENCE = 1 -- seconds

return function(task)
  local deadline = lilac.time() + PATIENCE
  repeat
    if tostring(task):find "%(ready%)" then return true end
    lilac.sleep(0)
  until task:done() or lilac.time() > deadline
  return false
end
