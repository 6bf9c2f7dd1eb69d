-- for task in lilac.as_completed({…} [, {timeout=}]) do … end: each task or future as it ends;
-- take its outcome with task:result() or task:await(). After `timeout` seconds the loop raises
-- TimeoutError. asyncio yields awaitables that are to be awaited; here the tasks themselves
-- come, and have ended.

local lilac = require "lilac"
local items_of = require "lilac.awaitables"

local function check(options)
  if type(options) ~= "table" then
    error(("bad argument #2 to 'as_completed' (table expected, got %s)"):format(type(options)), 3)
  end
  for key in pairs(options) do
    if key ~= "timeout" then
      error(("bad argument #2 to 'as_completed' (unknown option '%s'; known: timeout)")
        :format(tostring(key)), 3)
    end
  end
  if options.timeout ~= nil and type(options.timeout) ~= "number" then
    error(("bad argument #2 to 'as_completed' (option 'timeout': number expected, got %s)")
      :format(type(options.timeout)), 3)
  end
  if options.timeout ~= options.timeout then
    error("bad argument #2 to 'as_completed' (option 'timeout': number expected, got nan)", 3)
  end
end

return function(list, options)
  options = options or {}
  check(options)
  local tasks = items_of("as_completed", list)
  local ended = lilac.Queue()
  local deadline = options.timeout and lilac.time() + options.timeout
  local left = #tasks
  local function tell(task) ended:put_nowait(task) end
  for _, task in ipairs(tasks) do task:add_done_callback(tell) end

  local function next_ended()
    if left == 0 then return nil end
    left = left - 1
    if deadline and ended:empty() then
      local seconds = math.max(deadline - lilac.time(), 0)
      local finished, task = lilac.move_on_after(seconds, ended.get, ended)
      if finished then return task end
      error(lilac.errors.new("TimeoutError",
        ("as_completed: %d of %d have not ended in %g s")
          :format(left + 1, #tasks, options.timeout)))
    end
    return ended:get()
  end
  local guard = setmetatable({}, { __close = function()
    for _, task in ipairs(tasks) do task:remove_done_callback(tell) end
  end })
  return next_ended, nil, nil, guard
end
