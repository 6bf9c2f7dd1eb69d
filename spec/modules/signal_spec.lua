local lilac = require "lilac"
local raises = require "spec.support.raises"
local run = require "spec.support.child"
local script = require "spec.support.script"
local settle = require "spec.support.settle"

local signal = lilac.signal

-- Sends a signal to the specs and lets it arrive.
local function send(name)
  signal.raise(name)
  lilac.sleep(0.001)
  settle()
end

local function refuses(fn)
  local function fails(text, ...)
    local ok, err = pcall(fn, ...)
    assert.is_false(ok)
    assert.matches(text, err, 1, true)
  end
  fails("SIGKILL cannot be caught", "KILL", print)
  fails("SIGSTOP cannot be caught", "SIGSTOP", print)
  fails("SIGCHLD belongs to lilac, which reaps what lilac.process starts", "CHLD", print)
  fails("SIGSEGV means that the process is broken", "SEGV", print)
  fails("'SIGTERM', 'TERM' or the like expected, got 'HUB'", "HUB", print)
  fails("expected, got 'SIGSIGHUP'", "SIGSIGHUP", print)
  fails("expected, got 'term'", "term", print)
  fails("expected, got 'HUP", "HUP\0", print)
  fails("name of a signal expected, got number", 15, print)
  fails("name of a signal expected, got no value")
end

describe("signal.handle", function()
  it("calls a function with the whole name, at each signal, until it is closed", function()
    local names = {}
    local handle = signal.handle("USR1", function(name) names[#names + 1] = name end)
    local _ <close> = signal.handle("SIGUSR2", function(name) names[#names + 1] = name end)
    for _, name in ipairs { "USR1", "SIGUSR2", "SIGUSR1" } do send(name) end
    assert.same({ "SIGUSR1", "SIGUSR2", "SIGUSR1" }, names)
    assert.matches("^SignalHandle %(SIGUSR1%): 0x", tostring(handle))
    local other <close> = signal.handle("USR1", function() names[1] = "other" end)
    handle:close()
    handle:close()
    send "USR1"
    assert.same({ "other", "SIGUSR2", "SIGUSR1" }, names)
    assert.matches("^SignalHandle %(closed%): 0x", tostring(handle))
    assert.is_not_nil(other)
  end)

  it("stands though nobody keeps the handle, and leaves with its scope", function()
    local called = 0
    do
      local _ <close> = signal.handle("USR1", function() called = called + 1 end)
      collectgarbage()
      send "USR1"
    end
    local child = run [[
      local lilac = require "lilac"
      lilac.signal.handle("USR1", function(name) print(name) end)
      collectgarbage() collectgarbage()
      lilac.signal.raise "USR1"
      lilac.sleep(0.01)
      print "the end"]]
    assert.equal(1, called)
    assert.equal("SIGUSR1\nthe end\n", child.stdout)
    assert.equal(0, child.status)
  end)

  it("calls all functions for one signal, and one that is closed meanwhile no more", function()
    local first, second, called = nil, nil, 0
    first = signal.handle("USR1", function() called = called + 1 second:close() first:close() end)
    second = signal.handle("USR1", function() called = called + 1 first:close() second:close() end)
    send "USR1"
    assert.equal(1, called)
  end)

  it("calls a plain callback, which must not await and whose error is reported", function()
    local child = run [[
      local lilac = require "lilac"
      lilac.signal.handle("USR1", function() lilac.sleep(0) end)
      lilac.signal.raise "USR1"
      lilac.sleep(0.01)]]
    assert.matches("a callback failed: InvalidStateError: sleep: .*await", child.stderr)
    assert.equal(1, child.status)
  end)

  it("counts as I/O: there is no deadlock while it stands", function()
    local child = run [[
      local lilac = require "lilac"
      local future = lilac.Future()
      local handle = lilac.signal.handle("USR1", function() future:set_result "hello" end)
      os.execute "(sleep 0.1; kill -USR1 $PPID) &"
      print(future:await())
      handle:close()
      lilac.Future():await()]]
    assert.equal("hello\n", child.stdout)
    assert.matches("DeadlockError", child.stderr)
    assert.equal(3, child.status)
  end)

  it("checks its arguments", function()
    refuses(signal.handle)
    assert.error_matches(function() signal.handle("HUP", 1) end, "function expected, got number")
  end)
end)

describe("signal.wait", function()
  it("waits for one of several signals and tells which", function()
    for _, name in ipairs { "SIGUSR1", "SIGUSR2" } do
      local task = settle.start(signal.wait, "USR2", "SIGUSR1")
      assert.is_false(task:done())
      signal.raise(name)
      assert.equal(name, task:await())
    end
  end)

  it("tells all tasks that wait", function()
    local tasks = {}
    for i = 1, 3 do tasks[i] = settle.start(signal.wait, "USR1", "USR2") end
    send "USR1"
    for i = 1, 3 do assert.equal("SIGUSR1", tasks[i]:await()) end
  end)

  it("can be cancelled, and a deadline ends it", function()
    local _ <close> = signal.handle("USR1", function() end)
    local task = settle.start(signal.wait, "USR1")
    assert.matches("signal:wait", tostring(task))
    task:cancel()
    raises("CancelledError", task.await, task)
    raises("TimeoutError", lilac.timeout, 0.001, signal.wait, "USR1")
    send "USR1"
  end)

  it("keeps the program alive, also after one that was cancelled", function()
    local child = run [[
      local lilac = require "lilac"
      pcall(lilac.timeout, 0.001, lilac.signal.wait, "USR1")
      os.execute "(sleep 0.05; kill -USR1 $PPID) &"
      print(lilac.signal.wait "USR1")]]
    assert.equal("SIGUSR1\n", child.stdout, child.stderr)
  end)

  it("names in a list of tasks what it waits for", function()
    local child = run [[
      local lilac = require "lilac"
      lilac.create_task(function()
        lilac.dump()
        lilac.signal.raise "USR1"
      end)
      lilac.signal.wait("USR1", "HUP")]]
    assert.matches("signal:wait (SIGHUP SIGUSR1)", child.stderr, 1, true)
  end)

  it("checks its arguments", function()
    refuses(signal.wait)
    assert.error_matches(function() signal.wait("HUP", "KILL") end, "bad argument #2.*SIGKILL")
  end)
end)

describe("signal.iter", function()
  it("gives the signals as they come", function()
    local names = {}
    local task = settle.start(function()
      for name in signal.iter("USR1", "USR2") do
        names[#names + 1] = name
        if #names == 3 then break end
      end
    end)
    for _, name in ipairs { "USR2", "USR1", "USR2" } do send(name) end
    task:await()
    assert.same({ "SIGUSR2", "SIGUSR1", "SIGUSR2" }, names)
  end)

  it("keeps what comes between two rounds", function()
    local next <close> = signal.iter("USR1", "USR2")
    send "USR2"
    send "USR1"
    assert.matches("^SignalIterator %(SIGUSR1 SIGUSR2%)", tostring(next))
    assert.equal("SIGUSR1", next())
    assert.equal("SIGUSR2", next())
  end)

  it("loses nothing when a wait is cancelled", function()
    local next <close> = signal.iter "USR1"
    local task = settle.start(next)
    task:cancel()
    settle()
    assert.is_true(task:cancelled())
    send "USR1"
    assert.equal("SIGUSR1", next())
  end)

  it("ends when it is closed under the waiter", function()
    local next = signal.iter "USR1"
    local task = settle.start(next)
    next:close()
    assert.same({ n = 1 }, table.pack(task:await()))
    assert.is_nil(next())
    assert.matches("closed", tostring(next))
  end)

  it("lets one task wait at a time", function()
    local next <close> = signal.iter "USR1"
    local _ <close> = settle.start(next)
    local err = raises("InvalidStateError", next)
    assert.matches("signal iterator: task 'Task%-%d+' is at it already", err.message)
  end)

  it("leaves the signal alone when it is collected", function()
    local child = run [[
      local lilac = require "lilac"
      lilac.signal.iter "USR1"
      collectgarbage() collectgarbage()
      lilac.signal.raise "USR1"
      lilac.sleep(1)]]
    assert.equal(128 + 10, child.status)
  end)

  it("checks its arguments", function() refuses(signal.iter) end)
end)

describe("the default", function()
  it("of SIGHUP, SIGINT and SIGTERM is replaced while somebody listens, and comes back", function()
    for name, status in pairs { HUP = 129, INT = 130, TERM = 143 } do
      local child = run(([[
        local lilac, name = require "lilac", "%s"
        local handle = lilac.signal.handle(name, print)
        for _ = 1, 3 do lilac.signal.raise(name) lilac.sleep(0.01) end
        lilac.call_later(0.01, lilac.signal.raise, name)
        print(lilac.signal.wait(name))
        lilac.sleep(0.01)
        handle:close()
        local _ <close> = setmetatable({}, { __close = function(_, err) print(err) end })
        lilac.signal.raise(name)
        lilac.sleep(1)]]):format(name))
      local one = ("SIG%s\n"):format(name)
      assert.equal(one:rep(5) .. "CancelledError: cancelled by SIG" .. name .. "\n", child.stdout)
      assert.equal(status, child.status)
    end
  end)

  it("of most signals is the end of the process, again after a wait", function()
    local child = run [[
      local lilac = require "lilac"
      lilac.call_later(0.01, lilac.signal.raise, "USR1")
      print(lilac.signal.wait "USR1")
      io.stdout:flush()
      lilac.signal.raise "USR1"
      lilac.sleep(1)]]
    assert.equal("SIGUSR1\n", child.stdout)
    assert.equal(128 + 10, child.status)
  end)

  it("takes a signal that came too late for a listener", function()
    local child = run [[
      local lilac = require "lilac"
      local handle = lilac.signal.handle("HUP", function() print "never" end)
      lilac.signal.raise "HUP"
      handle:close()
      lilac.sleep(1)]]
    assert.equal("", child.stdout)
    assert.equal(129, child.status)
  end)

  it("of SIGQUIT, to print the tasks, is replaced", function()
    local child = run [[
      local lilac = require "lilac"
      do
        local _ <close> = lilac.signal.handle("QUIT", print)
        lilac.signal.raise "QUIT" lilac.sleep(0.01)
      end
      lilac.signal.raise "QUIT" lilac.sleep(0.01)]]
    assert.equal("SIGQUIT\n", child.stdout)
    assert.matches("task 'Task%-1'", child.stderr)
  end)

  it("does not hold up the end of the program", function()
    local child = run [[
      local lilac = require "lilac"
      lilac.signal.handle("INT", print)
      lilac.create_task(lilac.signal.wait, "HUP")
      local next = lilac.signal.iter "USR1"
      lilac.create_task(next)
      lilac.sleep(0.001)]]
    assert.equal("", child.stderr)
    assert.equal(0, child.status)
  end)
end)

describe("signals in threads", function()
  local to_thread = lilac.to_thread

  it("are told in all that listen, and here", function()
    local listening, tasks = lilac.Channel(), {}
    for i = 1, 3 do
      tasks[i] = lilac.create_task(to_thread, function()
        local next <close> = lilac.signal.iter("USR1", "USR2")
        listening:put(true)
        return next()
      end)
      listening:get()
    end
    local here <close> = signal.iter "USR1"
    signal.raise "USR1"
    assert.equal("SIGUSR1", here())
    for i = 1, 3 do assert.equal("SIGUSR1", tasks[i]:await()) end
  end)

  it("call functions, and are waited for, as here", function()
    assert.same({ "SIGUSR2", "SIGUSR1" }, to_thread(function()
      local names, second = {}, lilac.Future()
      local _ <close> = lilac.signal.handle("USR2", function(name)
        names[1] = name
        second:set_result()
      end)
      lilac.signal.raise "USR2"
      second:await()
      lilac.call_soon(lilac.signal.raise, "USR1")
      names[2] = lilac.signal.wait "USR1"
      return names
    end))
  end)

  it("can be waited for in vain", function()
    local listening = lilac.Channel()
    local task = lilac.create_task(to_thread, function()
      local _ <close> = lilac.signal.handle("USR2", function() listening:put_nowait(true) end)
      lilac.signal.raise "USR2"
      lilac.signal.wait "USR1"
    end)
    listening:get()
    task:cancel()
    lilac.wait { task }
    assert.is_true(task:cancelled())
  end)

  it("do again what they did when the last thread has left", function()
    local child = run([[
      local lilac = require "lilac"
      local pool = lilac.ThreadPool(1)
      pool:submit(function() lilac.signal.handle("USR1", print) end):await()
      lilac.signal.raise "USR1"
      lilac.sleep(0.01)
      print "lives"
      io.stdout:flush()
      pool:shutdown()
      lilac.signal.raise "USR1"
      lilac.sleep(9)]], { limit = 30 })
    assert.matches("lives\n", child.stdout)
    assert.equal(128 + 10, child.status)
  end)

  it("find who comes and goes meanwhile", function()
    local over = lilac.Channel()
    local tasks = {}
    for i = 1, 4 do
      tasks[i] = lilac.create_task(to_thread, function()
        local rounds = 0
        while over:empty() do
          local pool <close> = lilac.ThreadPool(1) -- a thread that ends takes its station with it
          rounds = rounds + pool:submit(function()
            local _ <close> = lilac.signal.iter "USR1"
            return 1
          end):await()
        end
        return rounds
      end)
    end
    local _ <close> = signal.handle("USR1", function() end)
    for _ = 1, 200 do
      signal.raise "USR1"
      lilac.sleep(0)
    end
    over:put(true)
    for i = 1, 4 do assert.is_true(tasks[i]:await() >= 0) end
  end)
end)

describe("SIGPIPE", function()
  it("does not kill a program that writes to a broken pipe, at which a handler changes nothing",
    function()
      local child = run [[
        local lilac = require "lilac"
        for round = 1, 2 do
          local reader, writer = lilac.pipe.pair()
          reader:close()
          print((select(2, pcall(writer.write, writer, "x"))).code)
          lilac.signal.handle("PIPE", function() end)
        end
        lilac.sleep(0.001)]]
      assert.equal("EPIPE\nEPIPE\n", child.stdout)
      assert.equal(0, child.status)
    end)

  -- The status of a program that prints when nobody reads any more.
  local function status_of_filter(first)
    local path = os.tmpname()
    local file = assert(io.open(path, "w"))
    file:write("local lilac = require 'lilac' ", first, [[
      lilac.sleep(0.05)
      for _ = 1, 9 do print "x" io.stdout:flush() lilac.sleep(0.001) end]])
    file:close()
    local pipe = assert(io.popen(("{ { %s %s; echo $? >&3; } | true; } 3>&1 2>&-")
      :format(os.getenv "LILAC" or "build/lilac", path)))
    local status = pipe:read "n"
    pipe:close()
    os.remove(path)
    return status
  end

  it("ends a filter whose output nobody reads, unless it is handled", function()
    assert.equal(128 + 13, status_of_filter "")
    assert.equal(0, status_of_filter "lilac.signal.handle('PIPE', function() end)")
  end)
end)

describe("SIGCHLD", function()
  it("does not disturb os.execute and io.popen", function()
    local job <close> = script [[
      local lilac = require "lilac"
      assert(select(3, os.execute "exit 3") == 3)
      local pipe = io.popen "sleep 0.05; exit 4"
      lilac.sleep(0.1)
      assert(select(3, pipe:close()) == 4)
      print "fine"]]
    assert.equal(0, job:wait())
    assert.equal("fine\n", job:output())
  end)
end)

describe("signal.kill", function()
  it("sends a signal to a process", function()
    local job <close> = script "print 'ready' io.stdout:flush() require 'lilac'.sleep(99)"
    job:wait_for "ready"
    signal.kill(job.pid, "KILL")
    assert.equal(128 + 9, job:wait())
  end)

  it("raises ProcessLookupError for a process that is not there", function()
    local err = raises("ProcessLookupError", signal.kill, 2 ^ 31 - 1, "TERM")
    assert.equal("kill 2147483647: no such process (ESRCH)", err.message)
  end)

  it("checks its arguments", function()
    for _, pid in ipairs { 0, -1, 2 ^ 31 } do
      assert.error_matches(function() signal.kill(pid, "TERM") end, "process id must be 1 to")
    end
    assert.error_matches(function() signal.kill(1, 15) end, "name of a signal expected")
    assert.error_matches(function() signal.raise "TERMINATE" end, "got 'TERMINATE'")
  end)
end)
