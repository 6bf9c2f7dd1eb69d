-- What no program should do, and some do: no crash, no endless loop, and an error that says so.
-- Each in a process of its own.
local lilac = require "lilac"

local run = require "spec.support.child"

local function child(source, options)
  options = options or {}
  options.limit = 20
  return run("local lilac = require 'lilac'\n" .. source, options)
end

-- A script that has ended by itself and said just this.
local function says(expected, source, options)
  local ended = child(source, options)
  assert.equal("", ended.stderr)
  assert.equal(expected, ended.stdout)
  assert.equal(0, ended.status)
end

describe("callbacks", function()
  it("can be removed in any order", function()
    local future, ran = lilac.Future(), {}
    local callbacks = {}
    for i = 1, 4 do
      callbacks[i] = function() ran[#ran + 1] = i end
      future:add_done_callback(callbacks[i])
    end
    assert.equal(1, future:remove_done_callback(callbacks[1]))
    assert.equal(1, future:remove_done_callback(callbacks[4]))
    assert.equal(0, future:remove_done_callback(callbacks[4]))
    future:set_result()
    lilac.sleep(0.001)
    table.sort(ran)
    assert.same({ 2, 3 }, ran)
  end)

  it("that are one function are removed at once", function()
    local future, ran = lilac.Future(), false
    local function callback() ran = true end
    for _ = 1, 5 do future:add_done_callback(callback) end
    assert.equal(5, future:remove_done_callback(callback))
    future:set_result()
    lilac.sleep(0.001)
    assert.is_false(ran)
  end)
end)

describe("gather", function()
  it("refuses a list whose length is a lie", function()
    for _, length in ipairs { -1, -5, 2 ^ 30 // 1 | 0, math.maxinteger, math.mininteger } do
      local list = setmetatable({}, { __len = function() return length end })
      local ok, err = pcall(lilac.gather, list)
      assert.is_false(ok)
      assert.matches("bad argument #1 to '", err)
    end
  end)
end)

describe("a task that waits for itself, among others", function()
  it("is cancelled all the same, and says so to the others", function()
    local ended = child [[
      local kids = {}
      local waits = lilac.create_task(function() lilac.gather(kids) end)
      kids[1] = waits
      for i = 2, 4 do kids[i] = lilac.create_task(lilac.sleep, 60) end
      lilac.sleep(0.05)
      waits:cancel "enough"
      lilac.wait {kids[2], kids[3], kids[4]}
      for i = 2, 4 do print(kids[i]:cancelled()) end
      os.exit(0)]]
    assert.equal("true\ntrue\ntrue\n", ended.stdout)
    assert.equal(0, ended.status)
    assert.matches("'Task%-2' was cancelled and waits for what nobody is left to do", ended.stderr)
  end)

  it("is a deadlock when nothing else is left", function()
    local ended = child "lilac.gather(lilac.current_task(), lilac.current_task())"
    assert.matches("^lilac: DeadlockError: .*gather %(2 of 2 pending%)", ended.stderr)
    assert.equal(3, ended.status)
  end)
end)

describe("the metamethod behind the methods of a task", function()
  it("takes being called by hand", function()
    local task = lilac.create_task(function() end)
    local index = debug.getmetatable(task).__index
    assert.is_nil(index())
    assert.is_nil(index(task, nil))
    assert.is_nil(index(task, "missing"))
    assert.equal(task.cancel, index(nil, "cancel", "more"))
    assert.error_matches(function() index(7, "name") end, "Task expected, got number")
    task:await()
  end)
end)

describe("a circle of waiting tasks", function()
  it("that came to be without one who closed it does not catch others who wait for it", function()
    local ended = child [[
      local a, b, scope
      a = lilac.create_task(function()
        local timeout <close> = lilac.timeout(5)
        scope = timeout
        lilac.sleep(0.001)
        b:await()
      end)
      b = lilac.create_task(function() a:await() end)
      lilac.sleep(0.01)
      scope:reschedule(nil) -- now nothing ends their waiting
      print(lilac.move_on_after(0.01, lilac.shield, a) and "?" or "ok")
      os.exit(0)]]
    assert.equal("ok\n", ended.stdout)
    assert.equal(0, ended.status)
  end)

  it("can be cancelled, and be long", function()
    says("CancelledError\n", [[
      local function descend(depth)
        if depth == 0 then lilac.sleep(1000) end
        return lilac.create_task(descend, depth - 1):await()
      end
      local task = lilac.create_task(descend, 20000)
      lilac.sleep(0.1)
      task:cancel()
      print(select(2, pcall(task.await, task)).name)]])
  end)
end)

describe("a deadlock", function()
  it("is told, though main waits for the end of a task that ignores its cancellation", function()
    local ended = child [[
      local event = lilac.Event()
      local task = lilac.create_task(function()
        while true do lilac.pcall(event.wait, event) end
      end)
      task:await()]]
    assert.matches("^lilac: DeadlockError: nothing is ready", ended.stderr)
    assert.equal(3, ended.status)
  end)

  it("is told, though main waits for a lock that nobody gives back", function()
    local ended = child [[
      local condition = lilac.Condition()
      lilac.create_task(function()
        condition:acquire()
        condition:notify()
      end)
      condition:acquire()
      condition:wait()]]
    assert.matches("^lilac: DeadlockError: nothing is ready", ended.stderr)
    assert.matches("lock held by a task that has ended", ended.stderr)
    assert.equal(3, ended.status)
  end)
end)

describe("lilac.run", function()
  it("is a plain call in a clean-up of the shutdown", function()
    says("main ends\n5\n", [[
      lilac.create_task(function()
        local _ <close> = setmetatable({}, { __close = function()
          print(lilac.run(function() lilac.sleep(0.001) return 5 end))
        end })
        lilac.sleep(100)
      end)
      lilac.sleep(0.001)
      print "main ends"]])
  end)
end)

describe("a TaskGroup", function()
  it("that a task closes already cannot be closed by a second one", function()
    says("InvalidStateError\nok\n", [[
      local group
      local first = lilac.create_task(function()
        local tg <close> = lilac.TaskGroup()
        group = tg
        tg:create_task(lilac.sleep, 0.05)
      end)
      lilac.sleep(0.001)
      local _, err = pcall(getmetatable(group).__close, group)
      print(err.name)
      first:cancel()
      print(select(2, pcall(first.await, first)).name == "CancelledError" and "ok")]])
  end)

  it("left behind in a generator goes with it, and its tasks go on", function()
    says("child ends\n", [[
      local child
      lilac.create_task(function()
        local generator = coroutine.wrap(function()
          local tg <close> = lilac.TaskGroup()
          child = tg:create_task(function() lilac.sleep(0.02) print "child ends" end)
          coroutine.yield()
        end)
        generator()
      end):await()
      collectgarbage() collectgarbage()
      child:await()]])
  end)
end)

describe("a scope that is not closed", function()
  it("fails the task that it cancels, and tells what is missing", function()
    says("false\tCancelledError: cancelled by timeout(0.001) at script.lua:3: "
      .. "its scope was not closed; write: local _ <close> = ...\nfalse\n", [[
      local task = lilac.create_task(function()
        local _ = lilac.timeout(0.001)
        lilac.sleep(100)
      end)
      print(pcall(task.await, task))
      print(task:cancelled())]])
  end)

  it("does the same to main, also when it is a group whose task fails", function()
    local ended = child [[
      local group = lilac.TaskGroup()
      group:create_task(error, "oops")
      lilac.sleep(100)]]
    assert.matches("cancelled by TaskGroup, as a task of it failed at script.lua:2: its scope was",
      ended.stderr)
    assert.equal(1, ended.status)
  end)

  it("does so from a generator that was left behind", function()
    says("clean-up\nits scope was not closed\n", [[
      local task = lilac.create_task(function()
        local _ <close> = setmetatable({}, { __close = function() print "clean-up" end })
        for _ in coroutine.wrap(function()
          local _ <close> = lilac.timeout(0.001)
          coroutine.yield(1)
        end) do break end
        lilac.sleep(100)
      end)
      print(select(2, pcall(task.await, task)).message:match "its scope was not closed")]])
  end)

  it("of a group leaves the errors of tasks that outlive it to the report", function()
    local ended = child [[
      local fail = lilac.Event()
      lilac.create_task(function()
        lilac.TaskGroup():create_task(function()
          fail:wait()
          error("oops", 0)
        end)
      end):await()
      fail:set()]]
    assert.matches("^lilac: task 'Task%-3' failed and nobody took its error: oops", ended.stderr)
    assert.equal(1, ended.status)
  end)
end)

describe("the shutdown", function()
  it("is bounded, also for a clean-up that computes for ever", function()
    local ended = child([[
      lilac.create_task(function()
        local _ <close> = setmetatable({}, { __close = function() while true do end end })
        lilac.sleep(10)
      end)
      lilac.create_task(function()
        local _ <close> = setmetatable({}, { __close = function()
          while true do lilac.sleep(0.01) end
        end })
        lilac.sleep(10)
      end)
      lilac.sleep(0.001)
      print "main ends"]], { options = "--grace 0.1" })
    assert.equal("main ends\n", ended.stdout)
    assert.is_true(ended.status < 128, ended.status)
  end)
end)

describe("a signal", function()
  it("that comes when main waits no more is what the process dies of", function()
    assert.equal(143, child([[os.execute "kill -TERM $PPID"]]).status)
  end)
end)

describe("os.exit in a task that others await", function()
  it("is no failure of theirs", function()
    local ended = child [[
      local task = lilac.create_task(function() lilac.sleep(0.001) os.exit(7) end)
      lilac.gather(task, function() lilac.sleep(10) end)]]
    assert.equal("", ended.stderr)
    assert.equal(7, ended.status)
  end)
end)

describe("an uncaught error", function()
  it("that is its own cause, or one of its own members, is printed all the same", function()
    local ended = child [[
      local err = lilac.errors.new("ExceptionGroup", "oops")
      err.cause = err
      err.errors = { err, err }
      error(err)]]
    assert.matches("^lilac: ExceptionGroup: oops", ended.stderr)
    assert.equal(1, ended.status)
  end)

  it("with very many causes is printed with the first ones", function()
    local ended = child [[
      local err
      for i = 1, 100000 do
        err = lilac.errors.new("OSError", "problem " .. i, { cause = err })
      end
      error(err)]]
    assert.matches("problem 99999", ended.stderr)
    assert.is_true(#ended.stderr < 10000)
    assert.equal(1, ended.status)
  end)
end)

describe("a finaliser", function()
  it("that awaits is told by a warning, as nobody sees its error", function()
    local source = [[
      setmetatable({}, { __gc = function() lilac.sleep(0) end })
      collectgarbage()
      print "main goes on"]]
    local ended = child(source, { options = "-W" })
    assert.matches("^Lua warning: sleep: cannot await inside a finaliser %(__gc%), which",
      ended.stderr)
    assert.equal("main goes on\n", ended.stdout)
    says("main goes on\n", source)
  end)

  it("may create tasks, also while one is being created", function()
    says("ok\n", [[
      local created, ended = 0, 0
      local function litter()
        setmetatable({}, { __gc = function()
          if created == 20000 then return end
          created = created + 1
          lilac.create_task(function() lilac.sleep(0.0001) ended = ended + 1 end)
          litter()
        end })
      end
      for _ = 1, 3 do litter() end
      collectgarbage("incremental", 50, 1000, 2)
      for round = 1, 200 do
        local tasks = {}
        for i = 1, round do
          tasks[i] = lilac.create_task(function() lilac.sleep(0.0001) return i end)
        end
        local results = lilac.gather(tasks)
        for i = 1, round do assert(results[i] == i) end
      end
      while ended < created do lilac.sleep(0.001) end
      assert(created > 0)
      print "ok"]], { env = "LILAC_STRESS=" }) -- a full collection before every resume is too much
  end)

  it("may put into a queue that grows, or has become empty, and no item is lost", function()
    says("1 2 3 4 from a finaliser 5 last\n", [[
      local finalise = require "spec.support.finalise"
      local queue, got = lilac.Queue(), {}
      for i = 1, 4 do queue:put_nowait(i) end
      finalise(function() queue:put_nowait "from a finaliser" end)
      queue:put_nowait(5)
      while not queue:empty() do got[#got + 1] = queue:get_nowait() end
      for i = 1, 10000 do queue:put_nowait(i) end
      for i = 1, 9999 do queue:get_nowait() end
      finalise(function() queue:put_nowait "last" end)
      queue:get_nowait()
      got[#got + 1] = queue:get_nowait()
      print(table.concat(got, " "))]])
  end)

  it("may break a barrier for which somebody is about to wait", function()
    says("false\tBrokenBarrierError: wait: the barrier is broken\n", [[
      local finalise = require "spec.support.finalise"
      local barrier = lilac.Barrier(2)
      finalise(function() barrier:abort() end)
      print(pcall(barrier.wait, barrier))]])
  end)

  it("that is older than lilac finds it closed", function()
    local ended = child([[
      debug.getmetatable(io.stdout).__gc = function() lilac.create_task(print) end]],
      { options = "-W" })
    assert.matches("lilac is closed", ended.stderr)
    assert.equal(0, ended.status)
  end)
end)

-- One object of every kind, each with something in C that has still to do with it. Pushes them, and
-- what makes them go on.
local ZOO = [[
  local fs, net, process, signal = lilac.fs, lilac.net, lilac.process, lilac.signal
  local dir = fs.mkdtemp()
  local server = net.listen("127.0.0.1", 0)

  local function zoo()
    local peer = net.connect("127.0.0.1", server.port)
    local stream = server:accept()
    local file = fs.open(dir .. "/file", "w")
    local udp = net.udp { host = "127.0.0.1" }
    local queue, future, group = lilac.Queue(), lilac.Future(), nil
    lilac.create_task(function()
      group = lilac.TaskGroup() -- which nobody closes
      for _ = 1, 3 do group:create_task(lilac.sleep, 0.001) end
    end):await()
    local timeout = lilac.timeout(100)
    getmetatable(timeout).__close(timeout)
    file:write "text"
    peer:write "text"
    udp:send("text", "127.0.0.1", udp.port)
    local objects = {
      peer, stream, file, udp, queue, future, group, timeout, net.listen("127.0.0.1", 0),
      fs.watch(dir), fs.scandir(dir), signal.iter "USR1", signal.handle("USR2", tostring),
      process.spawn { "true" }._child, process.spawn { "sleep", 100, stdin = "pipe" }.stdin,
      lilac.stdio.stdin, lilac.ThreadPool(1), lilac.Channel(1), lilac.Event(), lilac.Lock(),
      lilac.Barrier(2), lilac.Semaphore(1), lilac.Condition(), lilac.ContextVar "x",
      lilac.call_later(0.001, tostring, 1), lilac.errors.new("OSError", "oops"),
      lilac.current_task(), lilac.create_task(queue.get, queue),
      lilac.create_task(future.await, future),
    }
    lilac.sleep(0)
    return objects, function()
      queue:put "item"
      future:set_result()
    end
  end

  -- What C has still to do with those that are gone.
  local function aftermath()
    signal.raise "USR1"
    signal.raise "USR2"
    fs.write_file(dir .. "/other", "text")
    for _ = 1, 20 do lilac.sleep(0.001) end
  end
]]

describe("objects", function()
  it("that are never finalised break nothing: they go at the end", function()
    says("29\tfine\n", ZOO .. [[
      local count = 0
      local function strip_all() -- those that are there, and those that are made later
        local objects, go_on = zoo()
        for _, object in ipairs(objects) do
          count = count + 1
          getmetatable(object).__gc = nil
        end
        go_on()
      end
      local function forget()
        local _, go_on = zoo()
        go_on()
      end
      strip_all()
      forget()
      collectgarbage() collectgarbage()
      aftermath()
      fs.rmtree(dir)
      print(count, "fine")]], { env = "LILAC_STRESS= ASAN_OPTIONS=$ASAN_OPTIONS:detect_leaks=0" })
  end)

  it("that are finalised by hand, in use, break nothing", function()
    local ended = child(ZOO .. [[
      local objects, go_on = zoo()
      for _, object in ipairs(objects) do
        local finalise = getmetatable(object).__gc
        if finalise then
          finalise(object)
          finalise(object)
        end
        pcall(tostring, object)
        pcall(object)
      end
      pcall(go_on)
      objects = nil
      for _, name in ipairs { "USR1", "USR2" } do signal.handle(name, tostring) end
      collectgarbage() collectgarbage()
      aftermath()
      fs.rmtree(dir)
      print "fine"]])
    assert.equal("fine\n", ended.stdout)
    assert.equal(0, ended.status, ended.stderr)
  end)
end)
