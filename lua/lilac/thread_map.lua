-- pool:map(fn, list [, {concurrency=}]) → results, in the order of the list: the first result of
-- fn(item) for each, in threads of the pool. At most `concurrency` at a time, else as many as there
-- are threads. The first error cancels the rest.

local lilac = require "lilac"

local function refuse(argument, what, ...)
  error(("bad argument #%d to 'map' (" .. what .. ")"):format(argument, ...), 4)
end

local function check(fn, list, options)
  local meta = getmetatable(fn)
  if type(fn) ~= "function" and not (type(meta) == "table" and meta.__call) then
    refuse(1, "function expected, got %s", type(fn))
  end
  if type(list) ~= "table" then refuse(2, "table expected, got %s", type(list)) end
  if options == nil then return end
  if type(options) ~= "table" then refuse(3, "table expected, got %s", type(options)) end
  for key in pairs(options) do
    if key ~= "concurrency" then
      refuse(3, "unknown option '%s'; known: concurrency", tostring(key))
    end
  end
  local most = options.concurrency
  if most ~= nil and not (math.type(most) == "integer" and most > 0) then
    refuse(3, "option 'concurrency': positive integer expected, got %s", tostring(most))
  end
end

return function(pool, fn, list, options, threads)
  check(fn, list, options)
  local results, next_item = { n = #list }, 1
  local most = math.min(options and options.concurrency or threads, #list)
  local group <close> = lilac.TaskGroup()
  local function work()
    while next_item <= #list do
      local i = next_item
      next_item = i + 1
      results[i] = (pool:submit(fn, list[i]):await())
    end
  end
  for _ = 1, most do group:create_task(work) end
  return results
end
