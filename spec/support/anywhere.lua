-- A busy program that ends at one of its await points: run by spec/core/anywhere_spec.lua in a
-- lilac of its own.
--
--    lilac spec/support/anywhere.lua count
--    lilac spec/support/anywhere.lua exit|error|signal|cancel POINT
--
-- An await point is the beginning or the end of any call that may wait. `count` prints how many
-- there are. At the end of the process the numbers of scopes that were entered and left are
-- printed.
local lilac = require "lilac"

local how, target = arg[1], tonumber(arg[2])

local main = lilac.current_task()
local points, acted = 0, false

local entered, left = 0, 0

local acts = {}
function acts.count() end
function acts.exit() os.exit(7) end
function acts.error() error("at an await point", 0) end
function acts.cancel() main:cancel("at an await point") end
function acts.signal() os.execute "kill -TERM $PPID" end

local function point()
  points = points + 1
  if points ~= target or acted then return end
  acted = true
  print(main:done() and "main was over" or "main was there")
  acts[how]()
end

-- ---- wrapping what may wait
-- ----------------------------------------------------------------------

local function finish(...)
  point()
  return ...
end

local function wrap(from, name)
  local fn = rawget(from, name)
  rawset(from, name, function(...)
    point()
    return finish(fn(...))
  end)
end

local function methods(object)
  local index = getmetatable(object).__index
  if type(index) == "table" then return index end
  return select(2, debug.getupvalue(index, 1))
end

local net = lilac.net
for _, name in ipairs { "sleep", "gather", "wait", "wait_for", "shield", "timeout",
  "move_on_after" } do
  local _ = lilac[name] -- loads it
  wrap(lilac, name)
end
wrap(net, "connect")
wrap(net, "serve")
for _, name in ipairs { "put", "get" } do wrap(methods(lilac.Queue()), name) end
wrap(methods(lilac.Lock()), "acquire")
wrap(methods(lilac.Semaphore()), "acquire")
wrap(methods(lilac.Event()), "wait")
wrap(methods(lilac.Condition()), "wait")
wrap(methods(lilac.Barrier(1)), "wait")
wrap(methods(main), "await")
do
  local server <close> = net.serve("127.0.0.1", 0, function() end)
  local stream <close> = net.connect("127.0.0.1", server.port)
  for _, name in ipairs { "read", "write" } do wrap(methods(stream), name) end
end

-- ---- the program
-- ---------------------------------------------------------------------------------

local function guard(waits)
  entered = entered + 1
  return setmetatable({}, { __close = function()
    left = left + 1
    if waits then lilac.sleep(0) end
  end })
end

local function produce(queue)
  local _ <close> = guard(true)
  for i = 1, 3 do queue:put(i) end
end

local function consume(queue)
  local _ <close> = guard(true)
  for _ = 1, 3 do
    queue:get()
    queue:task_done()
  end
end

local function echo(stream)
  local _ <close> = guard(true)
  for line in stream:lines() do stream:write(line, "\n") end
end

local function talk(port)
  local _ <close> = guard(true)
  local stream <close> = net.connect("127.0.0.1", port)
  for i = 1, 2 do
    stream:write(("x"):rep(i), "\n")
    stream:read "l"
  end
end

local function numbers()
  return lilac.generator(function()
    local _ <close> = guard(true)
    for i = 1, 3 do
      lilac.sleep(0)
      coroutine.yield(i)
    end
  end)
end

local function synchronise()
  local _ <close> = guard()
  local lock, semaphore = lilac.Lock(), lilac.Semaphore(1)
  local event, barrier, condition = lilac.Event(), lilac.Barrier(2), lilac.Condition()
  lilac.gather(
    function()
      do
        local _ <close> = lock:acquire()
        local _ <close> = guard(true)
        lilac.sleep(0)
      end
      barrier:wait()
      local _ <close> = condition:acquire()
      condition:notify_all()
    end,
    function()
      local _ <close> = semaphore:acquire()
      do
        local _ <close> = lock:acquire()
        event:set()
      end
      barrier:wait()
    end,
    function()
      event:wait()
      local _ <close> = condition:acquire()
      lilac.move_on_after(0.002, condition.wait, condition)
    end)
end

local function time_out()
  local _ <close> = guard()
  pcall(function()
    local _ <close> = lilac.timeout(0.001)
    local _ <close> = guard(true)
    lilac.sleep(10)
  end)
  local co = coroutine.wrap(function()
    local _ <close> = guard(true)
    lilac.sleep(0)
    coroutine.yield()
    lilac.sleep(0)
  end)
  co()
  co()
end

local function run_program()
  local _ <close> = guard(true)
  local server <close> = net.serve("127.0.0.1", 0, echo)
  local queue = lilac.Queue(1)
  local forgotten = lilac.create_task(function()
    local _ <close> = guard(true)
    lilac.sleep(1000)
  end)
  forgotten:add_done_callback(point)
  lilac.call_later(0.001, point)
  do
    local group <close> = lilac.TaskGroup()
    group:create_task(produce, queue)
    group:create_task(consume, queue)
    group:create_task(talk, server.port)
    group:create_task(talk, server.port):add_done_callback(point)
    group:create_task(synchronise)
    for _ in numbers() do point() end
  end
  lilac.gather(time_out, function() for i in numbers() do if i == 2 then return end end end)
  local task = lilac.create_task(function() lilac.sleep(0.001) end)
  lilac.shield(task)
  pcall(lilac.wait_for, lilac.create_task(lilac.sleep, 10), 0.001)
  local done = lilac.wait { task, lilac.create_task(lilac.sleep, 0) }
  assert(#done == 2)
end

setmetatable({}, { __gc = function()
  if how == "count" then print(points) end
  print(("%d entered, %d left"):format(entered, left))
end })

run_program()
