-- TaskGroup:start(fn, …) → values…: starts fn(started, …) in the group and waits until it calls
-- `started(…)`; returns what it gave (trio's nursery.start).

local lilac = require "lilac"
local errors = lilac.errors

local function tell_end(ready)
  return function(task)
    if ready:done() then return end
    if task:cancelled() or not task:exception() then
      ready:set_exception(errors.new("InvalidStateError",
        ("start: task '%s' ended without calling started()"):format(task.name)))
    else
      ready:set_exception(task:exception())
    end
  end
end

return function(group, fn, ...)
  local ready = lilac.Future()
  local function started(...)
    if ready:done() then
      error(errors.new("InvalidStateError", "started: it was called already"))
    end
    ready:set_result(...)
  end
  local task = group:create_task(fn, started, ...)
  task:add_done_callback(tell_end(ready))
  local _ <close> = setmetatable({}, { __close = function(_, err)
    if err ~= nil then task:cancel("start was given up") end
  end })
  return lilac.shield(ready) -- cancelled or not: `started` may be called once
end
