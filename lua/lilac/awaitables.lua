-- items_of(name, list) → tasks and futures, each once, in order. Functions are started in tasks of
-- their own. For `wait` and `as_completed`.

local lilac = require "lilac"
local is_future = lilac.is_future

return function(name, list)
  if type(list) ~= "table" then
    error(("bad argument #1 to '%s' (table expected, got %s)"):format(name, type(list)), 3)
  end
  for i = 1, #list do
    local item = list[i]
    if type(item) ~= "function" and not is_future(item) then
      error(("bad argument #1 to '%s' (item %d: function, Task or Future expected, got %s)")
        :format(name, i, type(item)), 3)
    end
  end
  local items, seen = {}, {}
  for _, item in ipairs(list) do
    if type(item) == "function" then item = lilac.create_task(item) end
    if not seen[item] then items[#items + 1] = item end
    seen[item] = true
  end
  return items
end
