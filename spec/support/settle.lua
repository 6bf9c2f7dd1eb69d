-- settle(): lets all others run until they wait. settle.start(fn, …) → a task that has come to its
-- first wait. With --shuffle, sleep(0) would not be enough.

local lilac = require "lilac"

local settle = {}

function settle.start(fn, ...)
  local task = lilac.create_task(fn, ...)
  settle()
  return task
end

return setmetatable(settle, { __call = function()
  for _ = 1, 3 do lilac.sleep(1e-6) end
end })
