-- lilac.wait({tasks…} [, {timeout=, return_when=}]) → done, pending: arrays in the order of the
-- argument. Cancels nothing. As asyncio.wait.

local lilac = require "lilac"
local items_of = require "lilac.awaitables"

local conditions = { ALL_COMPLETED = true, FIRST_COMPLETED = true, FIRST_EXCEPTION = true }

local function refuse(message, ...)
  error(("bad argument #2 to 'wait' (" .. message .. ")"):format(...), 4)
end

local function check(options)
  if type(options) ~= "table" then refuse("table expected, got %s", type(options)) end
  for key in pairs(options) do
    if key ~= "timeout" and key ~= "return_when" then
      refuse("unknown option '%s'; known: timeout, return_when", tostring(key))
    end
  end
  if options.return_when ~= nil and not conditions[options.return_when] then
    refuse("option 'return_when': ALL_COMPLETED, FIRST_COMPLETED or FIRST_EXCEPTION expected, "
      .. "got %s", tostring(options.return_when))
  end
  if options.timeout ~= nil and type(options.timeout) ~= "number" then
    refuse("option 'timeout': number expected, got %s", type(options.timeout))
  end
  if options.timeout ~= options.timeout then refuse "option 'timeout': number expected, got nan" end
end

local function split(tasks)
  local done, pending = {}, {}
  for _, task in ipairs(tasks) do
    local list = task:done() and done or pending
    list[#list + 1] = task
  end
  return done, pending
end

-- Returns an event that is set when enough of the tasks have ended, and a guard for its callbacks.
local function watch(tasks, condition)
  local enough, left = lilac.Event(), #tasks
  local function on_end(task)
    left = left - 1
    if left == 0 or condition == "FIRST_COMPLETED"
      or (condition == "FIRST_EXCEPTION" and task:failed()) then
      enough:set()
    end
  end
  local _, pending = split(tasks)
  for _, task in ipairs(tasks) do
    if task:done() then on_end(task) else task:add_done_callback(on_end) end
  end
  return enough, setmetatable({}, { __close = function()
    for _, task in ipairs(pending) do task:remove_done_callback(on_end) end
  end })
end

return function(items, options)
  options = options or {}
  check(options)
  local tasks = items_of("wait", items)
  if #tasks == 0 then error("bad argument #1 to 'wait' (the list is empty)", 2) end
  local enough, guard = watch(tasks, options.return_when or "ALL_COMPLETED")
  local _ <close> = guard
  lilac.move_on_after(options.timeout, enough.wait, enough)
  return split(tasks)
end
