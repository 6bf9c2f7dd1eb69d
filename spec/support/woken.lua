-- woken(task) → whether the task was caught between being woken and going on: what happens to it
-- now comes in between. Lets others run until then; with --shuffle it may be gone before it is
-- seen.

local lilac = require "lilac"

local PATIENCE = 1 -- seconds

local function spin()
  while true do lilac.sleep(0) end
end

-- While somebody is ready, the loop looks at the clock first and then at what has arrived, and both
-- go before that one: the shortest of sleeps ends just before the task goes on.
return function(task)
  local spinner = lilac.create_task(spin)
  local deadline = lilac.time() + PATIENCE
  local caught
  repeat
    caught = tostring(task):find "%(ready%)" ~= nil
    if not caught then lilac.sleep(1e-9) end
  until caught or task:done() or lilac.time() > deadline
  spinner:cancel() -- to await it would let the task go on
  return caught
end
