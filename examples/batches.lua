-- Works through a list in batches: all of one at once, then the next. The shape for calls that
-- serve many items each (rows to insert, a bulk request); else see semaphore.lua, which idles less.

local lilac = require "lilac"

-- Iterates over slices of a list: for number, slice in batches(list, 4) do
local function batches(list, size)
  local number = 0
  return function()
    local first = number * size + 1
    if first > #list then return nil end
    number = number + 1
    return number, table.move(list, first, math.min(first + size - 1, #list), 1, {})
  end
end

local function square(n)
  lilac.sleep(0.01)
  return n * n
end

local list = {}
for n = 1, 10 do list[n] = n end

for number, slice in batches(list, 4) do
  local calls = {}
  for i, n in ipairs(slice) do
    calls[i] = function() return square(n) end
  end
  print(("batch %d: %s"):format(number, table.concat(lilac.gather(calls), " ")))
end
