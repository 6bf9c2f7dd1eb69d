local lilac = require "lilac"
local raises = require "spec.support.raises"
local settle = require "spec.support.settle"
local run = require "spec.support.child"

local to_thread = lilac.to_thread

-- A channel that tells when code in a thread has come somewhere.
local function signal() return lilac.Channel() end

describe("to_thread", function()
  it("runs a function in another thread and returns all its results", function()
    assert.same({ 3, nil, "x", n = 3 }, table.pack(to_thread(function(a, b)
      return a + b, nil, "x"
    end, 1, 2)))
    assert.equal(0, select("#", to_thread(function() end)))
  end)

  it("leaves the loop to others meanwhile", function()
    local begun, finish = signal(), signal()
    local task = lilac.create_task(to_thread, function()
      begun:put(true)
      repeat until finish:qsize() > 0 -- computes
      return "done"
    end)
    begun:get()
    lilac.sleep(0.001)
    assert.is_false(task:done())
    finish:put(true)
    assert.equal("done", task:await())
  end)

  it("comes back, and is cancelled, while others keep the loops busy", function()
    local done = false
    local busy = lilac.create_task(function() while not done do lilac.sleep(0) end end)
    assert.equal(1, to_thread(function() return 1 end))
    local begun = signal()
    local task = lilac.create_task(to_thread, function()
      begun:put(true)
      while true do lilac.sleep(0) end
    end)
    begun:get()
    task:cancel()
    lilac.wait { task }
    done = true
    busy:await()
    assert.is_true(task:cancelled())
  end)

  it("runs code that awaits, with all that lilac has", function()
    assert.equal("hello", to_thread(function()
      local net = lilac.net
      local server <close> = net.serve("127.0.0.1", 0, function(stream)
        stream:write(stream:read "l")
      end)
      local stream <close> = net.connect("127.0.0.1", server.port)
      stream:write "hello\n"
      return stream:read "a"
    end))
  end)

  it("runs several at once, each in a thread of its own", function()
    local a, b = signal(), signal()
    assert.same({ 1, 2, n = 2 }, lilac.gather {
      function() return to_thread(function() a:put(1) return b:get() - 1 end) end,
      function() return to_thread(function() b:put(2) return a:get() + 1 end) end,
    })
  end)

  it("works inside of a thread", function()
    assert.equal(42, to_thread(function()
      return (lilac.to_thread(function() return 42 end))
    end))
  end)

  it("cancels and awaits what the function leaves behind", function()
    local ended = signal()
    to_thread(function()
      lilac.create_task(function()
        local _ <close> = setmetatable({}, { __close = function()
          lilac.sleep(0.001)
          ended:put "ended"
        end })
        lilac.sleep(99)
      end)
      lilac.sleep(0)
    end)
    assert.equal("ended", ended:get_nowait())
  end)

  it("takes callable objects", function()
    local callable = setmetatable({ 5 }, { __call = function(self, x) return self[1] + x end })
    assert.equal(7, to_thread(callable, 2))
  end)

  it("refuses a wrong argument, and to wait where no task can", function()
    local ok, err = pcall(to_thread, 5)
    assert.is_false(ok)
    assert.matches("bad argument #1 to '.-to_thread' %(function expected, got number%)", err)
    local message
    lilac.call_soon(function() message = tostring(select(2, pcall(to_thread, print))) end)
    settle()
    assert.matches("cannot await in a callback", message)
  end)

  it("raises a deadlock in a thread, where nobody is left to help", function()
    raises("DeadlockError", to_thread, function() lilac.Future():await() end)
  end)

  it("has the path of the modules of this thread", function()
    local path = package.path
    package.path = "./spec/support/?.lua;" .. path
    local pool <close> = lilac.ThreadPool(1)
    package.path = path
    assert.equal("function", pool:submit(function() return type(require "outcome") end):await())
  end)

  it("sees the context variables of its task", function()
    local color, shape = lilac.ContextVar("color", "red"), lilac.ContextVar "shape"
    lilac.create_task(function()
      assert.equal("red", to_thread(function() return color:get() end))
      color:set "blue"
      shape:set { sides = 4, of = lilac.Queue() }
      assert.same({ "blue", 4, "nil", "green" }, { to_thread(function()
        local set, before = shape:get(), color:get()
        color:set "green"
        return before, set.sides, type(set.of), color:get()
      end) })
      assert.equal("blue", color:get())
    end):await()
  end)
end)

describe("an error in a thread", function()
  it("comes back as it is: strings, tables, objects of lilac", function()
    assert.equal("oops", select(2, pcall(to_thread, error, "oops", 0)))
    assert.matches("thread_spec.lua:%d+: here", select(2, pcall(to_thread, function()
      error "here"
    end)))
    assert.same({ code = 5 }, select(2, pcall(to_thread, error, { code = 5 })))
    assert.equal("<no error object>", select(2, pcall(to_thread, error)))
    local err = raises("FileNotFoundError", to_thread, function()
      error(lilac.errors.new("FileNotFoundError", "no such file", {
        code = "ENOENT", cause = lilac.errors.new("OSError", "deeper") }))
    end)
    assert.equal("ENOENT", err.code)
    assert.equal("OSError: deeper", tostring(err.cause))
  end)

  it("brings what cannot travel as a text", function()
    local err = raises("OSError", to_thread, function()
      error(lilac.errors.new("OSError", "bad", { queue = lilac.Queue() }))
    end)
    assert.equal("a Queue", err.queue)
    assert.matches("^file %(0x", (select(2, pcall(to_thread, function() error(io.stdout) end))))
  end)

  it("brings an object without the metatable that cannot travel", function()
    local ok, err = pcall(to_thread, function()
      error(setmetatable({ 1 }, setmetatable({}, { __gc = function() end })))
    end)
    assert.is_false(ok)
    assert.same({ 1 }, err)
    assert.is_nil(getmetatable(err))
  end)

  it("has the traceback of the thread, joined to that of the task", function()
    local function far()
      lilac.sleep(0.001)
      error(lilac.errors.new("OSError", "far away"))
    end
    local err = raises("OSError", to_thread, far)
    assert.matches("in function 'error'\n\t.-thread_spec.lua:%d+: in .-\nin a thread, "
      .. "called from:\n.-thread_spec.lua:%d+: in function", err.traceback)
    err = raises("TimeoutError", to_thread, function() lilac.timeout(0.001, lilac.sleep, 99) end)
    assert.matches("timeout%(0.001%) at .-thread_spec.lua:%d+ expired", tostring(err))
  end)

  it("is printed with both when nobody takes it", function()
    local child = run [[
      local lilac = require "lilac"
      local function deep() error "oops" end
      local function far() deep() end
      lilac.to_thread(far)]]
    assert.equal(1, child.status)
    assert.matches("script.lua:2: oops\nstack traceback:.-script.lua:2: in .-deep.-"
      .. "\nin a thread, called from:\n.-script.lua:4: in main chunk", child.stderr)
  end)

  it("is that of its task when it cancels itself", function()
    local err = raises("CancelledError", to_thread, function()
      lilac.current_task():cancel()
      lilac.sleep(1)
    end)
    assert.matches("cancelled by task:cancel%(%) at .-thread_spec.lua:%d+", tostring(err))
  end)

  it("counts for the exit status when a task there leaves it", function()
    local child = run [[
      local lilac = require "lilac"
      lilac.to_thread(function()
        lilac.create_task(error, "lost")
        lilac.sleep(0)
      end)]]
    assert.equal(1, child.status)
    assert.matches("nobody took its error: lost", child.stderr)
  end)
end)

describe("cancelling a task that waits for a thread", function()
  local function cancelled(fn)
    local begun, closed = signal(), signal()
    local task = lilac.create_task(to_thread, function()
      local _ <close> = setmetatable({}, { __close = function()
        lilac.sleep(0.001)
        closed:put "closed"
      end })
      begun:put(true)
      fn()
    end)
    begun:get()
    task:cancel "enough"
    lilac.wait({ task }, { timeout = 5 })
    assert.is_true(task:cancelled())
    assert.equal("closed", closed:get_nowait())
  end

  it("interrupts code that computes, and lets it clean up", function()
    cancelled(function() while true do local _ = ("x"):rep(100) end end)
  end)

  it("interrupts it in pcall, in a coroutine, in a callback of C", function()
    cancelled(function() while true do pcall(string.rep, "x", 100) end end)
    cancelled(function()
      for _ in coroutine.wrap(function() while true do coroutine.yield(("x"):rep(9)) end end) do
        local _ = ("x"):rep(9)
      end
    end)
    cancelled(function()
      table.sort({ 3, 2, 1 }, function() while true do local _ = ("x"):rep(9) end end)
    end)
  end)

  it("cancels what awaits, and the tasks that it waits for", function()
    cancelled(function() lilac.sleep(99) end)
    cancelled(function()
      lilac.gather(function() lilac.sleep(99) end, function() lilac.sleep(9) end)
    end)
    cancelled(function() lilac.to_thread(lilac.sleep, 99) end)
  end)

  it("interrupts another task that computes in its way", function()
    cancelled(function()
      lilac.create_task(function() while true do local _ = ("x"):rep(100) end end)
      lilac.sleep(99)
    end)
  end)

  it("tells the cause when the clean-up fails", function()
    local begun = signal()
    local task = lilac.create_task(to_thread, function()
      local _ <close> = setmetatable({}, { __close = function() error("untidy", 0) end })
      begun:put(true)
      lilac.sleep(99)
    end)
    begun:get()
    task:cancel()
    lilac.wait { task }
    assert.is_true(task:cancelled())
    local ok, err = pcall(task.result, task)
    assert.is_false(ok)
    assert.equal("untidy", err.cause)
  end)

  it("takes back what no thread has begun", function()
    local pool <close> = lilac.ThreadPool(1)
    local begun, ran = signal(), signal()
    local first = pool:submit(function() begun:put(true) lilac.sleep(99) end)
    local second = pool:submit(function() ran:put(true) end)
    begun:get()
    settle()
    second:cancel()
    settle()
    assert.is_true(second:cancelled())
    first:cancel()
    lilac.wait { first }
    assert.equal("x", pool:submit(function() return "x" end):await())
    assert.is_true(ran:empty())
  end)

  it("is a timeout's business, too", function()
    raises("TimeoutError", lilac.timeout, 0.01, to_thread, function()
      while true do local _ = ("x"):rep(100) end
    end)
  end)

  it("leaves a thread behind that is stuck in C, says so, and starts another one", function()
    local child = run([[
      local lilac = require "lilac"
      local pool = lilac.ThreadPool(1)
      local begun = lilac.Channel()
      local task = pool:submit(function() begun:put(1) os.execute "sleep 99" end)
      begun:get()
      lilac.sleep(0.001)
      task.name = "sleeper"
      task:cancel()
      lilac.wait { task }
      print(task:cancelled(), pool:submit(function() return "another" end):await())
      io.stdout:flush()
      os.execute "pkill -f 'sleep 9[9]' -P $PPID"]], { options = "--grace 0.2", limit = 30 })
    assert.equal(0, child.status)
    assert.equal("true\tanother\n", child.stdout)
    assert.matches("task 'sleeper' was cancelled, and its thread did not end within the grace "
      .. "of 0.2 s: it is inside a C function", child.stderr)
  end)

  it("ends what clings to its life before the grace is over", function()
    local child = run([[
      local lilac = require "lilac"
      local begun = lilac.Channel()
      local task = lilac.create_task(lilac.to_thread, function()
        begun:put(1)
        while true do lilac.pcall(string.rep, "x", 9) end
      end)
      begun:get()
      task:cancel()
      lilac.wait { task }
      print(task:cancelled())]], { options = "--grace 0.5", limit = 30 })
    assert.equal("", child.stderr)
    assert.equal("true\n", child.stdout)
  end)

  it("may be done by a finaliser, while its stack is looked at", function()
    local child = run([[
      local finalise = require "spec.support.finalise"
      local lilac = require "lilac"
      local co
      local task = lilac.create_task(function()
        co = coroutine.running()
        lilac.to_thread(lilac.sleep, 99)
      end)
      while not co do lilac.sleep(0) end
      finalise(function() task:cancel() end)
      debug.getinfo(co, 0, "fL")
      lilac.wait { task }
      print(task:cancelled())]], { limit = 20 })
    assert.same({ "true\n", 0 }, { child.stdout, child.status })
  end)
end)

describe("the end of the program", function()
  it("cancels what runs in threads, and waits for its clean-up", function()
    local child = run([[
      local lilac = require "lilac"
      local begun = lilac.Channel()
      lilac.create_task(lilac.to_thread, function()
        local _ <close> = setmetatable({}, { __close = function()
          lilac.sleep(0.001)
          print "cleaned up"
        end })
        begun:put(1)
        while true do local _ = ("x"):rep(9) end
      end)
      begun:get()]], { limit = 30 })
    assert.equal("", child.stderr)
    assert.equal("cleaned up\n", child.stdout)
    assert.equal(0, child.status)
  end)

  it("ends also what a job has left, and clings to its life, for good", function()
    local child = run([[
      local lilac = require "lilac"
      local pool = lilac.ThreadPool(1)
      pool:submit(function()
        beats = 0
        lilac.create_task(function()
          while true do
            lilac.pcall(lilac.sleep, 0)
            beats = beats + 1
          end
        end)
        lilac.sleep(0)
      end):await()
      print(pool:submit(function()
        local before = beats
        lilac.sleep(0.01)
        return beats - before
      end):await())]], { options = "--grace 0.05", limit = 30 })
    assert.equal("0\n", child.stdout)
    assert.matches("did not end within the grace", child.stderr)
  end)

  it("does not wait for what is stuck in C, not even where that reads stdin", function()
    local child = run([[
      local lilac = require "lilac"
      lilac.create_task(lilac.to_thread, function() return io.read() end)
      lilac.create_task(lilac.to_thread, os.execute, "exec sleep 3")
      lilac.sleep(0.05)
      print "over"]], { options = "--grace 0.2", limit = 30 })
    assert.equal(0, child.status)
    assert.equal("over\n", child.stdout)
  end)

  it("comes from a thread, by os.exit", function()
    local child = run([[
      local lilac = require "lilac"
      local _ <close> = setmetatable({}, { __close = function() print "main left" end })
      lilac.to_thread(function() os.exit(7) end)
      print "not here"]], { limit = 30 })
    assert.equal("main left\n", child.stdout)
    assert.equal(7, child.status)
  end)
end)

describe("deadlocks across threads", function()
  it("are none while a thread works, and are told when nobody is left", function()
    local channel = lilac.Channel()
    local task = lilac.create_task(to_thread, function()
      local sum = 0
      for i = 1, 1e6 do sum = sum + i end
      channel:put(sum)
    end)
    assert.equal(500000500000, channel:get())
    task:await()
  end)

  it("are told to the last one who waits", function()
    local child = run([[
      local lilac = require "lilac"
      local channel = lilac.Channel()
      lilac.to_thread(function() return channel:get() end)]], { limit = 30 })
    assert.matches("DeadlockError: nothing is ready", child.stderr)
    assert.equal(3, child.status)
    child = run([[
      local lilac = require "lilac"
      lilac.to_thread(print)
      lilac.Channel():get()]], { limit = 30 })
    assert.matches("channel:get %(channel of 0 items%)", child.stderr)
    assert.equal(3, child.status)
  end)
end)

describe("a ThreadPool", function()
  it("has as many threads as asked for, and starts them when needed", function()
    local pool <close> = lilac.ThreadPool(2)
    assert.matches("^ThreadPool %(0/2 threads, 0 jobs%)", tostring(pool))
    local gate, count = lilac.Channel(), lilac.Channel()
    local tasks = {}
    for i = 1, 4 do
      tasks[i] = pool:submit(function() count:put(i) gate:get() return i end)
    end
    local first = { count:get(), count:get() }
    table.sort(first)
    assert.same({ 1, 2 }, first)
    assert.is_true(count:empty())
    assert.matches("^ThreadPool %(2/2 threads, 4 jobs%)", tostring(pool))
    for _ = 1, 4 do gate:put(true) end
    assert.same({ 1, 2, 3, 4, n = 4 }, lilac.gather(tasks))
  end)

  it("gives a Task for each job, and refuses what cannot travel at once", function()
    local pool <close> = lilac.ThreadPool(1)
    local task = pool:submit(function(a) return a, "b" end, "a")
    assert.is_true(lilac.is_future(task))
    assert.same({ "a", "b" }, { task:await() })
    local ok, err = pcall(pool.submit, pool, print, io.stdout)
    assert.is_false(ok)
    assert.matches("submit: argument 3: a FILE%* cannot be sent to another thread", err)
  end)

  it("takes a job from a finaliser, in the middle of another one", function()
    local child = run([[
      local lilac = require "lilac"
      local variable, pool = lilac.ContextVar "variable", lilac.ThreadPool(1)
      local tasks = {}
      local function get() return variable:get() end
      collectgarbage("incremental", 100, 100, 1)
      for late = 0, 400, 10 do -- at one allocation of the outer job after the other
        collectgarbage()
        collectgarbage "stop"
        local begun
        setmetatable({}, { __gc = function()
          variable:set "inner"
          tasks[#tasks + 1] = pool:submit(get)
          variable:set "outer"
        end })
        for _ = 1, late do setmetatable({}, { __gc = function() end }) end
        for _ = 1, 10 do setmetatable({}, { __gc = function() begun = true end }) end
        variable:set "outer"
        repeat collectgarbage "step" until begun
        collectgarbage "restart"
        local outer = pool:submit(get, {})
        tasks[#tasks + 1] = outer
      end
      collectgarbage()
      local found = { inner = 0, outer = 0 }
      for _, task in ipairs(tasks) do
        local value = task:await()
        found[value] = found[value] + 1
      end
      print(found.inner, found.outer)]], { limit = 20 })
    assert.same({ "41\t41\n", 0 }, { child.stdout, child.status })
  end)

  it("is not finalised by hand while it has jobs", function()
    local child = run([[
      local finalise = require "spec.support.finalise"
      local lilac = require "lilac"
      local pool, gate = lilac.ThreadPool(1), lilac.Channel()
      local end_pool = getmetatable(pool).__gc
      local tasks = { pool:submit(gate.get, gate), pool:submit(gate.get, gate) }
      lilac.sleep(0)
      end_pool(pool)
      gate:put "one"
      print(tasks[1]:await())
      tasks[2]:cancel()
      print(pcall(tasks[2].await, tasks[2]))
      local function submit(to, argument) return pcall(to.submit, to, print, argument) end
      for _, argument in ipairs { 1, {} } do -- as a task is made, or a table is packed
        local unused = lilac.ThreadPool(1)
        finalise(function() end_pool(unused) end)
        print(submit(unused, argument))
      end]], { limit = 20 })
    local refusal = "false\tthe ThreadPool was collected\n"
    assert.equal("one\nfalse\tCancelledError: cancelled by task:cancel() at script.lua:10\n"
      .. refusal .. refusal, child.stdout)
  end)

  it("keeps the globals of a thread from job to job", function()
    local pool <close> = lilac.ThreadPool(1)
    pool:submit(function() count = 1 end):await() -- luacheck: ignore
    assert.equal(1, pool:submit(function() return count end):await()) -- luacheck: ignore
    assert.is_nil(count) -- luacheck: ignore
  end)

  it("waits in shutdown for the jobs, and takes no more", function()
    local pool = lilac.ThreadPool(2)
    local begun, gate = signal(), lilac.Channel()
    local job = pool:submit(function() begun:put(1) return gate:get() end)
    begun:get()
    local shutdown = settle.start(pool.shutdown, pool)
    assert.is_false(shutdown:done())
    raises("InvalidStateError", pool.submit, pool, print)
    gate:put "last"
    shutdown:await()
    assert.equal("last", job:result())
    assert.matches("^ThreadPool %(0/2 threads, 0 jobs, shut down%)", tostring(pool))
    pool:shutdown()
  end)

  it("may be shut down by several, and one of them be cancelled", function()
    local pool = lilac.ThreadPool(1)
    local gate = lilac.Channel()
    local job = pool:submit(function() return gate:get() end)
    local first, second = settle.start(pool.shutdown, pool), settle.start(pool.shutdown, pool)
    first:cancel()
    settle()
    assert.is_true(first:cancelled())
    gate:put(1)
    second:await()
    job:await()
  end)

  it("cancels its jobs when its scope is left by an error", function()
    local jobs = {}
    local ok, err = pcall(function()
      local pool <close> = lilac.ThreadPool(2)
      for i = 1, 3 do jobs[i] = pool:submit(lilac.sleep, 99) end
      settle()
      error("oops", 0)
    end)
    assert.is_false(ok)
    assert.equal("oops", err)
    for i = 1, 3 do assert.is_true(jobs[i]:cancelled()) end
  end)

  it("cancels its jobs, and waits for them, when its task is cancelled in the end", function()
    for _, early in ipairs { true, false } do
      local begun, closed, at_end, job = signal(), signal(), lilac.Event(), nil
      local task = lilac.create_task(function()
        local pool <close> = lilac.ThreadPool(1)
        job = pool:submit(function()
          local _ <close> = setmetatable({}, { __close = function() closed:put "closed" end })
          begun:put(true)
          lilac.sleep(99)
        end)
        begun:get()
        if early then lilac.current_task():cancel() end
        at_end:set()
      end)
      at_end:wait()
      settle()
      if not early then task:cancel() end
      lilac.wait { task }
      assert.is_true(task:cancelled())
      assert.is_true(job:cancelled())
      assert.equal("closed", closed:get_nowait())
    end
  end)

  it("cancels a job whose task was cancelled before it began to wait", function()
    local pool <close> = lilac.ThreadPool(1)
    local task = pool:submit(lilac.sleep, 99)
    task:cancel()
    settle()
    assert.is_true(task:cancelled())
    assert.equal(1, pool:submit(function() return 1 end):await())
  end)

  it("leaves no descriptor behind, however often one is started and ended", function()
    local child = run([[
      local function descriptors()
        local pipe <close> = io.popen "ls -l /proc/$PPID/fd | grep -c event"
        return tonumber(pipe:read "a")
      end
      dofile "spec/support/pools.lua"
      local before = descriptors()
      dofile "spec/support/pools.lua"
      print(descriptors() - before)]], { limit = 60 })
    assert.equal("started and ended: 100\nstarted and ended: 100\n0\n", child.stdout)
  end)

  it("refuses wrong arguments", function()
    local function message(...) return select(2, pcall(lilac.ThreadPool, ...)) end
    assert.matches("number of threads", message(0))
    assert.matches("number of threads", message(1e9))
    assert.matches("unknown option 'size'; known: memory", message(1, { size = 1 }))
    assert.matches("option 'memory'", message(1, { memory = -1 }))
  end)
end)

describe("a panic", function()
  local folder

  setup(function()
    folder = os.tmpname()
    os.remove(folder)
    assert(os.execute(("mkdir %s && ${CC:-cc} -shared -fPIC -Isrc "
      .. "$(pkg-config --cflags lua5.4 libuv) -o %s/panic.so spec/support/panic.c")
      :format(folder, folder)))
  end)

  teardown(function() os.execute("rm -r " .. folder) end)

  local function run_with(source)
    return run(source, { env = "env LUA_CPATH=" .. folder .. "/?.so", limit = 30 })
  end

  it("ends the job and its thread, and another one takes its place", function()
    local child = run_with [[
      local lilac = require "lilac"
      local pool <close> = lilac.ThreadPool(1)
      local channel = lilac.Channel()
      local function panic()
        lilac.net.serve("127.0.0.1", 0, print)
        lilac.create_task(lilac.to_thread, lilac.sleep, 99)
        lilac.create_task(channel.get, channel)
        require "panic".raise()
        lilac.sleep(99)
      end
      for _ = 1, 3 do print(pcall(function() pool:submit(panic):await() end)) end
      repeat lilac.sleep(0) until tostring(pool):find "0/1 threads, 0 jobs" -- the last one is gone
      print(pool:submit(function() return "another" end):await())
      channel:put "mine"
      print(channel:get())]]
    local told = "false\traised in a callback "
      .. "(raised outside of all Lua code: the thread is given up)\n"
    assert.equal("", child.stderr)
    assert.equal(told:rep(3) .. "another\nmine\n", child.stdout)
    assert.equal(0, child.status)
  end)

  it("of the main thread ends the program with a word", function()
    local child = run_with [[
      local lilac = require "lilac"
      lilac.net.serve("127.0.0.1", 0, print)
      require "panic".raise()
      lilac.sleep(99)]]
    assert.equal("lilac: raised in a callback\n", child.stderr)
    assert.equal(1, child.status)
  end)
end)

describe("a thread that cannot be opened", function()
  it("raises what the system says, and the next one is tried anew", function()
    local child = run([[
      local lilac = require "lilac"
      local pool = lilac.ThreadPool(1)
      local files = {}
      for file in function() return (io.open "/dev/null") end do files[#files + 1] = file end
      local function try(fn, ...)
        local ok, err = pcall(fn, ...)
        print(ok, err, not ok and err.code, not ok and err.syscall)
      end
      try(lilac.to_thread, math.sqrt, 4)
      local task = pool:submit(math.sqrt, 9)
      try(task.await, task)
      for _, file in ipairs(files) do file:close() end
      try(lilac.to_thread, math.sqrt, 16)]], { env = "ulimit -n 40;", limit = 30 })
    local told = "false\tOSError: %s: no thread could be started: too many open files (EMFILE)"
      .. "\tEMFILE\t%s\n"
    assert.equal("", child.stderr)
    assert.equal(told:format("to_thread", "to_thread") .. told:format("submit", "submit")
      .. "true\t4.0\tfalse\tfalse\n", child.stdout)
  end)

  it("is no hindrance to the jobs of the others, nor to a cancellation", function()
    local child = run([[
      local lilac = require "lilac"
      local pool <close> = lilac.ThreadPool(8)
      print(pool:submit(function() return "one works" end):await())
      local files = {}
      for file in function() return (io.open "/dev/null") end do files[#files + 1] = file end
      local ended = 0
      for i = 1, 50 do
        local task = lilac.create_task(lilac.to_thread, math.sqrt, 4)
        lilac.sleep(0)
        if i % 2 == 0 then task:cancel() end
        if not pcall(task.await, task) then ended = ended + 1 end
      end
      print(ended)
      print(pool:submit(function() return "still works" end):await())]],
      { env = "ulimit -n 40;", limit = 30 })
    assert.equal("", child.stderr)
    assert.equal("one works\n50\nstill works\n", child.stdout)
  end)
end)

describe("a thread out of memory", function()
  it("gives an error, and goes on", function()
    local pool <close> = lilac.ThreadPool(1, { memory = 4000000 })
    local function hog()
      local list = {}
      for i = 1, 1e9 do list[i] = ("x"):rep(9000) .. i end
      return list
    end
    local function large() return #("x"):rep(1000000) end -- in a buffer, for which none collects
    for _ = 1, 3 do
      local task = pool:submit(hog)
      local ok, err = pcall(task.await, task)
      assert.is_false(ok)
      assert.matches("not enough memory", tostring(err))
      assert.equal(1000000, pool:submit(large):await())
    end
  end)

  it("is no end of the program, wherever it happens", function()
    local child = run [[
      local lilac = require "lilac"
      for kilobytes = 20, 400, 20 do
        local pool <close> = lilac.ThreadPool(1, { memory = kilobytes * 1024 })
        for _ = 1, 3 do
          local task = pool:submit(function(n)
            local list = {}
            for i = 1, n do list[i] = lilac.create_task(lilac.sleep, 0) end
            lilac.gather(list)
            return #list
          end, 1000)
          local ok, err = pcall(task.await, task)
          assert(ok or tostring(err):find "not enough memory", tostring(err))
        end
      end
      print "over"]]
    assert.equal("over\n", child.stdout, child.stderr)
    -- Tasks that found no memory to begin, and that nobody awaited, are told of.
    for line in child.stderr:gmatch "[^\n]+" do
      assert.matches("nobody took its error: not enough memory$", line)
    end
    assert.is_true(child.status <= 1)
  end)
end)
