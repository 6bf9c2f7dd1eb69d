local run = require "spec.support.child"

-- What is printed about errors, and the exit status: of scripts in a lilac of their own.

local function count(text, pattern) return select(2, text:gsub(pattern, "")) end

describe("an error that ends the main task", function()
  it("is printed with its traceback; the exit status is 1", function()
    local child = run [[
      local function inner() error "oops" end
      inner()
    ]]
    assert.matches("^lilac: script.lua:1: oops\nstack traceback:\n", child.stderr)
    assert.matches("script.lua:1: in .*inner", child.stderr)
    assert.matches("script.lua:2: in main chunk", child.stderr)
    assert.equal(1, child.status)
  end)

  it("is shown by __tostring, or by its type", function()
    local child = run [[error(setmetatable({}, { __tostring = function() return "mine" end }))]]
    assert.matches("^lilac: mine\n", child.stderr)
    assert.equal(1, child.status)
    assert.matches("^lilac: %(error object is a table value%)", run "error {}".stderr)
    assert.matches("^lilac: <no error object>", run "error()".stderr)
    assert.matches("^lilac: 17\n", run "error(17, 0)".stderr)
  end)

  it("is shown with its class and the stack at its throw, of a timeout where it waited", function()
    local child = run [[
      local lilac = require "lilac"
      lilac.timeout(0.001, lilac.sleep, 60)
    ]]
    assert.matches("^lilac: TimeoutError: timeout%(0.001%) at script.lua:2 expired\n"
      .. "stack traceback:\n\t%[C%]: in function 'lilac.sleep'\n", child.stderr)
    assert.equal(1, child.status)
  end)

  it("is shown with its cause", function()
    local child = run [[
      local lilac = require "lilac"
      error(lilac.errors.new("OSError", "outer", { cause = lilac.errors.new("OSError", "inner") }))
    ]]
    assert.matches("^lilac: OSError: outer\n", child.stderr)
    assert.matches("\ncaused by: OSError: inner\n", child.stderr)
  end)

  it("runs on in its traceback through the tasks that awaited", function()
    local child = run [[
      local lilac = require "lilac"
      local function fail_here() lilac.sleep(0) error "oops" end
      local function middle()
        local inner = lilac.create_task(fail_here)
        inner.name = "inner"
        inner:await()
      end
      local task = lilac.create_task(middle)
      task:await()
    ]]
    local text = child.stderr
    assert.matches("^lilac: script.lua:2: oops\nstack traceback:\n", text)
    assert.equal(2, count(text, "awaited from:"))
    local at = 1
    for _, line in ipairs { "script.lua:2: in ", "created at script.lua:4, awaited from:",
      "script.lua:6: in ", "created at script.lua:8, awaited from:",
      "script.lua:9: in main chunk" } do
      at = text:find(line, at, true)
      assert.is_number(at, line)
    end
    assert.matches("task 'inner' created at", text)
    assert.equal(1, child.status)
  end)

  it("shows all members of an ExceptionGroup", function()
    local child = run [[
      local lilac = require "lilac"
      local function fail(err)
        lilac.pcall(lilac.sleep, 0.001)
        error(err, 0)
      end
      local tg <close> = lilac.TaskGroup()
      tg:create_task(fail, "one")
      tg:create_task(fail, lilac.errors.new("OSError", "two"))
    ]]
    assert.matches("^lilac: ExceptionGroup: 2 errors of a TaskGroup, the first: ", child.stderr)
    assert.matches("\n  error %d: one", child.stderr)
    assert.matches("\n  error %d: OSError: two", child.stderr)
    assert.equal(1, child.status)
  end)

  it("is printed after the other tasks were cancelled and cleaned up", function()
    local child = run [[
      local lilac = require "lilac"
      lilac.create_task(function()
        local _ <close> = setmetatable({}, { __close = function()
          lilac.sleep(0.001)
          print "cleaned"
        end })
        lilac.sleep(60)
      end)
      lilac.sleep(0.001)
      error "oops"
    ]]
    assert.equal("cleaned\n", child.stdout)
    assert.matches("oops", child.stderr)
    assert.equal(1, child.status)
  end)
end)

-- The ways to take the error of a task.
local takes = { "pcall(task.await, task)", "task:exception()", "pcall(task.result, task)",
  "pcall(lilac.gather, task)", "pcall(lilac.wait_for, task, 1)", "pcall(lilac.shield, task)",
  "lilac.gather({ task }, { return_exceptions = true })" }

describe("a task that failed and whose error nobody took", function()
  it("is reported at exit, with its name, traceback and creation; the status is 1", function()
    local child = run [[
      local lilac = require "lilac"
      local function fail_here() error "oops" end
      local task = lilac.create_task(fail_here)
      task.name = "crawler"
      lilac.sleep(0.001)
      print "main ends"
    ]]
    assert.equal("main ends\n", child.stdout)
    assert.matches("^lilac: task 'crawler' failed and nobody took its error: script.lua:2: oops\n",
      child.stderr)
    assert.matches("stack traceback:.*script.lua:2: in", child.stderr)
    assert.matches("task 'crawler' created at script.lua:3", child.stderr)
    assert.equal(1, child.status)
  end)

  it("is reported once after a second, if it was not taken in time", function()
    local child = run [[
      local lilac = require "lilac"
      local function fail(err) error(err, 0) end
      local never = lilac.create_task(fail, "never")
      local in_time = lilac.create_task(fail, "in time")
      lilac.sleep(0.01)
      pcall(in_time.await, in_time)
      io.stderr:write "before\n"
      lilac.sleep(1.1)
      io.stderr:write "after\n"
    ]]
    assert.matches("^before\nlilac: task 'Task%-%d+' failed and nobody took its error: never\n",
      child.stderr)
    assert.matches("\nafter\n$", child.stderr)
    assert.equal(1, count(child.stderr, "never"))
    assert.equal(0, count(child.stderr, "in time"))
    assert.equal(1, child.status)
  end)

  it("is forgiven when somebody takes the error after the report: the status is 0", function()
    for _, take in ipairs(takes) do
      local child = run(([[
        local lilac = require "lilac"
        local task = lilac.create_task(error, "oops", 0)
        lilac.sleep(0.001)
        io.stderr:write "taken\n"
        %s
      ]]):format(take), { options = "--debug" })
      assert.matches("nobody took its error: oops.*taken\n$", child.stderr)
      assert.equal(0, child.status)
    end
  end)

  it("is silent when its error is taken in time, in any way", function()
    for _, take in ipairs(takes) do
      local child = run(([[
        local lilac = require "lilac"
        local task = lilac.create_task(error, "oops", 0)
        lilac.sleep(0.001)
        %s
      ]]):format(take))
      assert.equal("", child.stderr)
      assert.equal(0, child.status)
    end
  end)

  it("is reported at once under --debug", function()
    local child = run([[
      local lilac = require "lilac"
      lilac.create_task(error, "oops", 0)
      lilac.sleep(0.001)
      io.stderr:write "after\n"
    ]], { options = "--debug" })
    assert.matches("nobody took its error: oops.*after\n$", child.stderr)
    assert.equal(1, child.status)
  end)

  it("is reported also when its object is gone", function()
    local child = run [[
      local lilac = require "lilac"
      lilac.create_task(error, "oops", 0)
      lilac.sleep(0.001)
      collectgarbage()
      collectgarbage()
    ]]
    assert.matches("nobody took its error: oops", child.stderr)
    assert.equal(1, child.status)
  end)

  it("is reported when its clean-up fails at the end of the program", function()
    local child = run [[
      local lilac = require "lilac"
      lilac.create_task(function()
        local _ <close> = setmetatable({}, { __close = function() error("broken", 0) end })
        lilac.sleep(60)
      end)
      lilac.sleep(0.001)
    ]]
    assert.matches("nobody took its error: broken", child.stderr)
    assert.equal(1, child.status)
  end)

  it("is not reported when it was cancelled", function()
    local child = run [[
      local lilac = require "lilac"
      local task = lilac.create_task(lilac.sleep, 60)
      lilac.sleep(0.001)
      task:cancel()
      lilac.sleep(0.001)
    ]]
    assert.equal("", child.stderr)
    assert.equal(0, child.status)
  end)

  it("is reported when a CancelledError of another ended it", function()
    local child = run [[
      local lilac = require "lilac"
      local task = lilac.create_task(lilac.sleep, 60)
      lilac.create_task(task.await, task)
      lilac.sleep(0.001)
      task:cancel()
      lilac.sleep(0.001)
    ]]
    assert.matches("nobody took its error: CancelledError: cancelled by task:cancel%(%) "
      .. "at script.lua:5", child.stderr)
    assert.equal(1, child.status)
  end)

  it("is reported with its creation before the causes of its error", function()
    local child = run [[
      local lilac = require "lilac"
      lilac.create_task(error, lilac.errors.new("OSError", "outer", { cause = "inner" }))
      lilac.sleep(0.01)
    ]]
    assert.matches("task 'Task%-2' created at script.lua:2\ncaused by: inner\n", child.stderr)
  end)

  it("is a task: a future that was given an error is not reported", function()
    local child = run [[require("lilac").Future():set_exception "oops"]]
    assert.equal("", child.stderr)
    assert.equal(0, child.status)
  end)

  it("goes to the exception handler, if there is one", function()
    local child = run [[
      local lilac = require "lilac"
      lilac.set_exception_handler(function(context)
        print(context.message, context.exception, context.task.name)
      end)
      local task = lilac.create_task(error, "oops", 0)
      task.name = "crawler"
      lilac.sleep(0.001)
    ]]
    assert.equal("task 'crawler' failed and nobody took its error\toops\tcrawler\n", child.stdout)
    assert.equal("", child.stderr)
    assert.equal(1, child.status)
  end)

  it("is printed when the exception handler fails, which is said as well", function()
    local child = run [[
      local lilac = require "lilac"
      lilac.set_exception_handler(function() error "handler" end)
      lilac.create_task(error, "oops", 0)
      lilac.sleep(0.001)
    ]]
    assert.matches("the exception handler failed: script.lua:2: handler", child.stderr)
    assert.matches("nobody took its error: oops", child.stderr)
    assert.equal(1, child.status)
  end)
end)

describe("call_exception_handler", function()
  it("prints what it is told, with the traceback of an error object", function()
    local child = run [[
      local lilac = require "lilac"
      local _, err = pcall(function() lilac.Lock():release() end)
      lilac.call_exception_handler { message = "it failed", exception = err }
      lilac.call_exception_handler { message = "again", exception = "x" }
      lilac.set_exception_handler(function(context) print(context.message) end)
      lilac.call_exception_handler { message = "handled" }
      lilac.set_exception_handler(nil)
      lilac.call_exception_handler { message = "not handled", exception = 1 }
    ]]
    assert.matches("^lilac: it failed: InvalidStateError: release: the lock is not acquired\n"
      .. "stack traceback:", child.stderr)
    assert.matches("\nlilac: again: x\nlilac: not handled: 1\n$", child.stderr)
    assert.equal("handled\n", child.stdout)
    assert.equal(0, child.status)
  end)

  it("prints the traceback of the task that it is told of", function()
    local child = run [[
      local lilac = require "lilac"
      local function fail_here() error("oops", 0) end
      local task = lilac.create_task(fail_here)
      local _, err = pcall(task.await, task)
      lilac.call_exception_handler { message = "it failed", exception = err, task = task }
    ]]
    assert.matches("^lilac: it failed: oops\nstack traceback:\n.*in function 'error'\n"
      .. "\tscript.lua:2: in .*\ntask 'Task%-2' created at script.lua:3\n$", child.stderr)
  end)
end)

describe("a place in a report", function()
  it("is the user's, where lilac's own Lua waits or starts a task for it", function()
    local child = run [[
      local lilac = require "lilac"
      lilac.wait {
        function() lilac.Event():wait() end,
      }
    ]]
    assert.matches("Task%-1' %(main%): event:wait at script.lua:2\n", child.stderr)
    assert.matches("Task%-2': event:wait at script.lua:3 created at script.lua:2\n", child.stderr)
  end)
end)

describe("a deadlock", function()
  it("is raised in main with the list of all parked tasks; uncaught, the status is 3", function()
    local child = run [[
      local lilac = require "lilac"
      local event = lilac.Event()
      local task = lilac.create_task(event.wait, event)
      task.name = "waiter"
      task:await()
    ]]
    assert.matches("^lilac: DeadlockError: ", child.stderr)
    assert.matches("task 'waiter': .*wait.*created at script.lua:3", child.stderr)
    assert.matches("%(main%): await %(task 'waiter'%) at script.lua:5", child.stderr)
    assert.equal(3, child.status)
  end)

  it("may be caught", function()
    local child = run [[
      local lilac = require "lilac"
      local event = lilac.Event()
      local ok, err = pcall(event.wait, event)
      print(ok, err.name)
      lilac.sleep(0.001)
    ]]
    assert.equal("false\tDeadlockError\n", child.stdout)
    assert.equal(0, child.status)
  end)

  it("is none while a timer is left", function()
    local child = run [[
      local lilac = require "lilac"
      local event = lilac.Event()
      lilac.call_later(0.005, event.set, event)
      event:wait()
    ]]
    assert.equal(0, child.status)
  end)

  it("is raised in the task that closes a circle of awaits and locks", function()
    local child = run [[
      local lilac = require "lilac"
      local lock, locked = lilac.Lock(), lilac.Event()
      local a = lilac.create_task(function()
        locked:wait()
        local _ <close> = lock:acquire()
      end)
      local b = lilac.create_task(function()
        local _ <close> = lock:acquire()
        locked:set()
        while not tostring(a):find "acquire" do lilac.sleep(0) end
        a:await()
      end)
      print(pcall(b.await, b))
      print(pcall(a.await, a))
    ]]
    assert.matches("^false\tDeadlockError: .*\ntrue\n$", child.stdout)
    assert.equal(0, child.status)
  end)
end)
