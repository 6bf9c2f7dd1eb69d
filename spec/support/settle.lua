-- settle(): lets all others run until they wait, or end. settle.start(fn, ...) gives a task that
-- has come to its first wait. With --shuffle, sleep(0) would not be enough.

local lilac = require "lilac"

local settle = {}

function settle.start(fn, ...)
  local task = lilac.create_task(fn, ...)
  settle()
  return task
end

local function somebody_is_ready()
  for _, task in ipairs(lilac.all_tasks()) do
    if tostring(task):find "%(ready%)" then return true end
  end
  return false
end

return setmetatable(settle, { __call = function()
  for turn = 1, 1000 do
    lilac.sleep(1e-6)
    if turn >= 3 and not somebody_is_ready() then return end
  end
end })
