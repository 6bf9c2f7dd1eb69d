-- lilac.wait({tasks…} [, {timeout=, return_when=}]) → done, pending: arrays in the order of the
-- argument. Cancels nothing. As asyncio.wait.

local lilac = require "lilac"
local items_of = require "lilac.awaitables"

local conditions = { ALL_COMPLETED = true, FIRST_COMPLETED = true, FIRST_EXCEPTION = true }

local function check(options)
  if type(options) ~= "table" then
    error(("bad argument #2 to 'wait' (table expected, got %s)"):format(type(options)), 3)
  end
  for key in pairs(options) do
    if key ~= "timeout" and key ~= "return_when" then
      error(("bad argument #2 to 'wait' (unknown option '%s'; known: timeout, return_when)")
        :format(tostring(key)), 3)
    end
  end
  if options.return_when ~= nil and not conditions[options.return_when] then
    error(("bad argument #2 to 'wait' (return_when is ALL_COMPLETED, FIRST_COMPLETED or "
      .. "FIRST_EXCEPTION, not '%s')"):format(tostring(options.return_when)), 3)
  end
  if options.timeout ~= nil and type(options.timeout) ~= "number" then
    error(("bad argument #2 to 'wait' (option 'timeout': number expected, got %s)")
      :format(type(options.timeout)), 3)
  end
end

local function split(tasks)
  local done, pending = {}, {}
  for _, task in ipairs(tasks) do
    local list = task:done() and done or pending
    list[#list + 1] = task
  end
  return done, pending
end

-- Whether what has ended is enough for the condition.
local function is_enough(done, pending, condition)
  if #pending == 0 then return true end
  if condition == "FIRST_COMPLETED" then return #done > 0 end
  if condition == "ALL_COMPLETED" then return false end
  for _, task in ipairs(done) do
    if not task:cancelled() and task:failed() then return true end
  end
  return false
end

return function(items, options)
  options = options or {}
  check(options)
  local tasks = items_of("wait", items)
  if #tasks == 0 then error("bad argument #1 to 'wait' (the list is empty)", 2) end
  local enough = lilac.Event()
  local condition = options.return_when or "ALL_COMPLETED"
  local function look()
    local done, pending = split(tasks)
    if is_enough(done, pending, condition) then enough:set() end
  end
  for _, task in ipairs(tasks) do task:add_done_callback(look) end
  local _ <close> = setmetatable({}, { __close = function()
    for _, task in ipairs(tasks) do task:remove_done_callback(look) end
  end })
  look()
  lilac.move_on_after(options.timeout, enough.wait, enough)
  return split(tasks)
end
