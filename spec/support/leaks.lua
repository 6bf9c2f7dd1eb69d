-- Loaded by busted before the specs (see .busted). An `it` that leaves a task behind fails.

local lilac = require "lilac"
local busted = require "busted"

local SETTLE = 20 -- turns that tasks get which were cancelled, or are about to end

local before  -- set of the tasks that were there when the `it` began
local running -- what that is called

local function left_behind()
  local left = {}
  for _, task in ipairs(lilac.all_tasks()) do
    if not before[task] then left[#left + 1] = task end
  end
  return left
end

busted.subscribe({ "test", "start" }, function(element) running = element.name end)

busted.before_each(function()
  before = {}
  for _, task in ipairs(lilac.all_tasks()) do before[task] = true end
end)

busted.after_each(function()
  local left = left_behind()
  for _ = 1, SETTLE do
    if #left == 0 then return end
    lilac.sleep(1e-6)
    left = left_behind()
  end
  local texts = {}
  for i, task in ipairs(left) do
    texts[i] = ("%s\n%s"):format(task, task:traceback())
    task:cancel("left behind by a spec")
  end
  if #left == 0 then return end
  error(("left behind by '%s':\n%s"):format(running, table.concat(texts, "\n")), 0)
end)
