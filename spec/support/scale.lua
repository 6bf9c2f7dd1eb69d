-- Does one kind of work with many tasks: lilac scale.lua work count. See core/scale_spec.lua.
local lilac = require "lilac"

local work, count = arg[1], tonumber(arg[2])

local function start(fn, ...)
  local tasks = {}
  for i = 1, count do tasks[i] = lilac.create_task(fn, ...) end
  lilac.sleep(0)
  return tasks
end

local function cancel(tasks)
  for i = #tasks, 1, -1 do tasks[i]:cancel() end
  lilac.wait(tasks)
end

local works = {}

--- The end of the program cancels them.
function works.exit() start(lilac.sleep, 60) end

function works.wait() lilac.wait(start(lilac.sleep, 0)) end

function works.as_completed()
  for _ in lilac.as_completed(start(lilac.sleep, 0)) do end
end

function works.group()
  lilac.TaskGroup(function(tg)
    for _ = 1, count do tg:create_task(lilac.sleep, 60) end
    lilac.sleep(0)
    tg:cancel()
  end)
end

function works.event()
  local event = lilac.Event()
  cancel(start(event.wait, event))
end

function works.lock()
  local lock = lilac.Lock()
  local tasks = start(function()
    local _ <close> = lock:acquire()
    lilac.sleep(0)
  end)
  lilac.wait(tasks)
end

function works.queue()
  local queue = lilac.Queue()
  cancel(start(queue.get, queue))
end

function works.awaiters()
  local slow = lilac.create_task(lilac.sleep, 60)
  local tasks = start(function() lilac.shield(slow) end)
  cancel(tasks)
  slow:cancel()
end

function works.callbacks()
  local handles = {}
  for i = 1, count do handles[i] = lilac.call_later(60 + i, print) end
  for i = 1, count do handles[i]:cancel() end
end

function works.timeouts()
  lilac.wait(start(pcall, lilac.wait_for, function() lilac.sleep(60) end, 0.001))
end

works[work]()
