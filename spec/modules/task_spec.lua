local lilac = require "lilac"
local on_close = require "spec.support.on_close"
local outcome = require "spec.support.outcome"
local raises = require "spec.support.raises"
local settle = require "spec.support.settle"
local errors, start = lilac.errors, settle.start

local SHUFFLED = os.getenv "LILAC_SHUFFLE"

-- Calls fn(…) in a callback; returns what pcall returns.
local function in_callback(fn, ...)
  local results
  lilac.call_soon(function(...) results = table.pack(pcall(fn, ...)) end, ...)
  settle()
  return table.unpack(results, 1, results.n)
end

describe("create_task", function()
  it("starts the function at the next turn, not at once", function()
    local log = {}
    local task = lilac.create_task(function() log[1] = "ran" end)
    assert.same({}, log)
    task:await()
    assert.same({ "ran" }, log)
  end)

  it("starts functions in the order of their creation", function()
    local log = {}
    for i = 1, 20 do lilac.create_task(function() log[i] = #log end) end
    settle()
    assert.equal(20, #log)
    if not SHUFFLED then for i = 1, 20 do assert.equal(i - 1, log[i]) end end
  end)

  it("passes arguments, nil ones too", function()
    local task = lilac.create_task(function(...) return select("#", ...), ... end, nil, 2, nil)
    assert.same({ 3, nil, 2, nil, n = 4 }, table.pack(task:await()))
  end)

  it("passes many arguments and returns many results", function()
    local list = {}
    for i = 1, 200 do list[i] = i end
    local results = table.pack(lilac.create_task(function(...) return ... end,
      table.unpack(list)):await())
    assert.equal(200, results.n)
    assert.equal(200, results[200])
  end)

  it("takes a callable object and a C function", function()
    local object = setmetatable({}, { __call = function(_, x) return x end })
    assert.equal(7, lilac.create_task(object, 7):await())
    assert.equal("number", lilac.create_task(type, 1):await())
  end)

  it("works in a callback", function()
    local ok, task = in_callback(lilac.create_task, function() return 7 end)
    assert.is_true(ok)
    assert.equal(7, task:await())
  end)

  it("refuses what is no function", function()
    assert.error_matches(function() lilac.create_task() end,
      "bad argument #1 to 'create_task' %(function expected, got no value; write")
    assert.error_matches(function() lilac.create_task(1) end,
      "function expected, got number; write create_task%(f, x%) for a task that calls f%(x%)")
  end)

  it("keeps a task running whose object was dropped", function()
    local ended = false
    lilac.create_task(function()
      settle()
      ended = true
    end)
    collectgarbage()
    for _ = 1, 3 do settle() end
    assert.is_true(ended)
  end)
end)

describe("Task:await", function()
  it("returns all results, again and again", function()
    local task = lilac.create_task(function() return 1, nil, 3, nil end)
    for _ = 1, 2 do assert.same({ 1, nil, 3, nil, n = 4 }, table.pack(task:await())) end
    assert.equal(0, select("#", lilac.create_task(function() end):await()))
    assert.equal(1, select("#", lilac.create_task(function() return nil end):await()))
  end)

  it("raises the error of the task, unchanged, again and again", function()
    local err = {}
    local task = lilac.create_task(error, err)
    for _ = 1, 2 do assert.equal(err, select(2, pcall(task.await, task))) end
  end)

  it("raises errors of any type", function()
    for _, err in ipairs { 1, true, "text", print } do
      local task = lilac.create_task(error, err, 0)
      assert.same({ false, err }, { pcall(task.await, task) })
    end
    local task = lilac.create_task(error, nil)
    assert.same({ false, "<no error object>" }, { pcall(task.await, task) })
  end)

  it("serves several tasks, in the order of their coming", function()
    local gate, log = lilac.Event(), {}
    local task = start(function()
      gate:wait()
      return "result"
    end)
    local waiters = {}
    for i = 1, 3 do
      waiters[i] = start(function()
        log[#log + 1] = i
        local result = task:await()
        log[#log + 1] = i
        return result
      end)
    end
    gate:set()
    for i = 1, 3 do assert.equal("result", waiters[i]:await()) end
    if not SHUFFLED then assert.same({ 1, 2, 3, 1, 2, 3 }, log) end
  end)

  it("refuses the running task itself", function()
    local self = lilac.current_task()
    assert.matches("itself", raises("DeadlockError", self.await, self).message)
  end)

  it("refuses to close a circle of tasks", function()
    local a, b
    a = lilac.create_task(function() return b:await() end)
    b = lilac.create_task(function()
      settle()
      return pcall(a.await, a)
    end)
    local ok, err = a:await()
    assert.is_false(ok)
    assert.is_true(errors.is(err, "DeadlockError"))
    assert.matches("await", err.message)
  end)

  it("lets a circle be when one in it is under a timeout", function()
    local a, b
    a = lilac.create_task(function() return pcall(lilac.timeout, 0.005, b.await, b) end)
    b = lilac.create_task(function()
      settle()
      return a:await()
    end)
    local ok, err = a:await()
    assert.is_false(ok)
    assert.is_true(errors.is(err, "TimeoutError"))
    assert.equal("cancelled", outcome(b))
  end)

  it("lets a circle of wait_for be, which its first timeout ends", function()
    local a, b
    a = lilac.create_task(function() return pcall(lilac.wait_for, b, 0.01) end)
    b = lilac.create_task(function()
      settle()
      return lilac.wait_for(a, 60)
    end)
    local ok, err = a:await()
    assert.is_false(ok)
    assert.is_true(errors.is(err, "TimeoutError"))
    assert.equal("cancelled", outcome(b))
  end)

  it("lets a circle of three be, which ends when one is cancelled", function()
    local list, barrier = {}, lilac.Barrier(3)
    for i = 1, 3 do
      list[i] = lilac.create_task(function()
        barrier:wait()
        local _ <close> = lilac.timeout(60)
        list[i % 3 + 1]:await()
      end)
    end
    settle()
    list[2]:cancel()
    for i = 1, 3 do assert.equal("cancelled", outcome(list[i])) end
  end)

  it("refuses a circle through wait_for without a limit", function()
    local a, b
    a = lilac.create_task(function() return lilac.wait_for(b, nil) end)
    b = lilac.create_task(function()
      settle()
      return pcall(lilac.wait_for, a, nil)
    end)
    local ok, err = a:await()
    assert.is_false(ok)
    assert.is_true(errors.is(err, "DeadlockError"))
  end)

  it("refuses a circle through gather when one child is left", function()
    local a, b
    a = lilac.create_task(function() return lilac.gather({ b, function() return 1 end }) end)
    b = lilac.create_task(function()
      settle()
      return a:await()
    end)
    local ok, err = pcall(a.await, a)
    assert.is_false(ok)
    assert.is_true(errors.is(err, "DeadlockError"))
    assert.matches("gather", err.message)
    assert.is_true(errors.is(b:exception(), "DeadlockError"))
  end)

  it("refuses to gather the only task that waits for the gatherer", function()
    local a, b
    a = lilac.create_task(function()
      settle()
      return pcall(lilac.gather, b)
    end)
    b = lilac.create_task(function() return a:await() end)
    local _, ok, err = pcall(b.await, b)
    assert.is_false(ok)
    assert.is_true(errors.is(err, "DeadlockError"))
  end)

  it("lets a circle through gather be while another child may end it by failing", function()
    local a, b
    a = lilac.create_task(function()
      return pcall(lilac.gather, b, function() lilac.sleep(0.005) error("enough", 0) end)
    end)
    b = lilac.create_task(function()
      settle()
      return a:await()
    end)
    assert.same({ false, "enough" }, { b:await() })
  end)

  it("refuses a circle through the only task of a group", function()
    local err = raises("DeadlockError", function()
      lilac.TaskGroup(function(tg)
        local parent = lilac.current_task()
        tg:create_task(function()
          settle()
          parent:await()
        end)
      end)
    end)
    assert.matches("TaskGroup", err.message)
  end)

  it("is refused in a callback, with a hint", function()
    local task = start(function() return 1 end)
    local ok, err = in_callback(task.await, task)
    assert.is_false(ok)
    assert.is_true(errors.is(err, "InvalidStateError"))
    assert.matches("cannot await in a callback; let it start a task", err.message)
  end)

  it("is refused where Lua cannot yield, also when it would not wait", function()
    local task = start(function() return true end)
    local ok, err = pcall(table.sort, { 2, 1 }, function() return task:await() end)
    assert.is_false(ok)
    assert.matches("'table.sort'", err.message)
  end)

  it("wants a task or a future", function()
    local task = start(function() end)
    assert.error_matches(function() task.await() end, "Task or Future")
    assert.error_matches(function() task.await {} end, "Task or Future")
    assert.error_matches(function() task.await(io.stdout) end, "Task or Future")
  end)
end)

describe("the outcome of a Task", function()
  it("cannot be asked for before its end", function()
    local task = start(lilac.sleep, 60)
    assert.is_false(task:done())
    assert.is_false(task:cancelled())
    assert.is_false(task:failed())
    assert.matches("has not ended", raises("InvalidStateError", task.result, task).message)
    raises("InvalidStateError", task.exception, task)
    task:cancel()
  end)

  it("is its results after success", function()
    local task = start(function() return 1, 2 end)
    assert.is_true(task:done())
    assert.is_false(task:cancelled())
    assert.is_false(task:failed())
    assert.same({ 1, 2 }, { task:result() })
    assert.is_nil(task:exception())
  end)

  it("is its error after failure", function()
    local err = {}
    local task = start(error, err)
    assert.is_true(task:done())
    assert.is_true(task:failed())
    assert.is_false(task:cancelled())
    assert.equal(err, task:exception())
    assert.equal(err, select(2, pcall(task.result, task)))
  end)

  it("is a CancelledError after cancellation", function()
    local task = start(lilac.sleep, 60)
    task:cancel()
    assert.equal("cancelled", outcome(task))
    assert.is_false(task:failed())
    raises("CancelledError", task.result, task)
    raises("CancelledError", task.exception, task)
  end)

  it("cannot be set from outside", function()
    local task = start(lilac.sleep, 0)
    assert.is_nil(task.set_result)
    assert.error_matches(function() lilac.Future().set_result(task, 1) end, "Future")
    task:await()
  end)
end)

describe("Task:add_done_callback", function()
  it("has the function called with the task, soon after its end, outside of any task", function()
    local got, current = nil, "unset"
    local task = lilac.create_task(function() return 1 end)
    task:add_done_callback(function(...)
      got = table.pack(...)
      current = lilac.current_task()
    end)
    task:await()
    settle()
    assert.same({ task, n = 1 }, got)
    assert.is_nil(current)
  end)

  it("does so, not at once, for a task that has ended", function()
    local called = false
    local task = start(function() end)
    task:add_done_callback(function() called = true end)
    assert.is_false(called)
    settle()
    assert.is_true(called)
  end)

  it("calls functions in the order they were added, as often as they were", function()
    local log = {}
    local function a() log[#log + 1] = "a" end
    local function b() log[#log + 1] = "b" end
    local task = lilac.create_task(function() end)
    task:add_done_callback(a)
    task:add_done_callback(b)
    task:add_done_callback(a)
    settle()
    assert.equal(3, #log)
    if not SHUFFLED then assert.same({ "a", "b", "a" }, log) end
  end)

  it("is for failed and cancelled tasks too", function()
    local log = {}
    local function note(task) log[#log + 1] = task:cancelled() and "cancelled" or "failed" end
    local a, b = start(function() settle() error "x" end), start(lilac.sleep, 60)
    a:add_done_callback(note)
    b:add_done_callback(note)
    raises("CancelledError", function()
      b:cancel()
      b:await()
    end)
    pcall(a.await, a)
    settle()
    table.sort(log)
    assert.same({ "cancelled", "failed" }, log)
  end)

  it("runs in a callback that may add another", function()
    local log = {}
    local task = start(lilac.sleep, 0.001)
    task:add_done_callback(function()
      log[1] = "first"
      task:add_done_callback(function() log[2] = "second" end)
    end)
    task:await()
    settle()
    assert.same({ "first", "second" }, log)
  end)

  it("does not take the outcome away from those who await it", function()
    local task = lilac.create_task(function() settle() return 7 end)
    task:add_done_callback(function() end)
    assert.equal(7, task:await())
  end)

  it("refuses what is no function", function()
    local task = start(function() end)
    assert.error_matches(function() task:add_done_callback(1) end, "function expected")
    assert.error_matches(function() task:remove_done_callback() end, "function expected")
  end)
end)

describe("Task:remove_done_callback", function()
  it("takes a function back, each time it was added, and returns how often", function()
    local log = {}
    local function a() log[#log + 1] = "a" end
    local function b() log[#log + 1] = "b" end
    local task = lilac.create_task(function() end)
    assert.equal(0, task:remove_done_callback(a))
    task:add_done_callback(a)
    task:add_done_callback(b)
    task:add_done_callback(a)
    assert.equal(2, task:remove_done_callback(a))
    assert.equal(0, task:remove_done_callback(a))
    settle()
    assert.same({ "b" }, log)
  end)

  it("removes the first, the last, the only one", function()
    local function a() error "called" end
    local function b() error "called" end
    local gate = lilac.Event()
    local task = start(gate.wait, gate)
    task:add_done_callback(a)
    task:add_done_callback(b)
    assert.equal(1, task:remove_done_callback(b))
    assert.equal(1, task:remove_done_callback(a))
    task:add_done_callback(b)
    assert.equal(1, task:remove_done_callback(b))
    gate:set()
    task:await()
    settle()
  end)

  it("leaves those who await the task alone", function()
    local function a() end
    local task = lilac.create_task(function() settle() settle() return 1 end)
    local waiter = lilac.create_task(task.await, task)
    task:add_done_callback(a)
    lilac.sleep(0)
    assert.equal(1, task:remove_done_callback(a))
    assert.equal(1, waiter:await())
  end)
end)

describe("Task.name", function()
  it("is made up at first, another for each task", function()
    local a, b = start(function() end), start(function() end)
    assert.matches("^Task%-%d+$", a.name)
    assert.matches("^Task%-%d+$", b.name)
    assert.is_true(a.name ~= b.name)
  end)

  it("may be set, and shows in the task's text", function()
    local task = start(lilac.sleep, 60)
    task.name = "crawler"
    assert.equal("crawler", task.name)
    assert.matches("^Task 'crawler' %(sleep%): ", tostring(task))
    task:cancel()
    assert.matches("^Task 'crawler' %(ready%): ", tostring(task))
    settle()
    assert.matches("^Task 'crawler' %(cancelled%): ", tostring(task))
    assert.equal("crawler", task.name)
  end)

  it("shows how a task stands or has ended", function()
    assert.matches("%(running%)", tostring(lilac.current_task()))
    assert.matches("%(done%)", tostring(start(function() end)))
    local failed = start(error, "x")
    assert.matches("%(failed%)", tostring(failed))
    assert.equal("x", failed:exception())
  end)

  it("is a string, and the only field that may be set", function()
    local task = start(function() end)
    assert.error_matches(function() task.name = {} end,
      "the name of a Task is a string, not a table value")
    assert.error_matches(function() task.other = 1 end, "no field 'other'")
    assert.is_nil(task.other)
  end)
end)

describe("Task:traceback", function()
  it("shows where a waiting task stands", function()
    local function wait_here() lilac.sleep(60) end
    local task = start(function() wait_here() end)
    local text = task:traceback()
    assert.matches("stack traceback:", text)
    assert.matches("task_spec.lua:%d+: in .*wait_here", text)
    task:cancel()
  end)

  it("shows where it stands inside a coroutine", function()
    local function wait_here() lilac.sleep(60) end
    local task = start(coroutine.wrap(function() wait_here() end))
    assert.matches("wait_here", task:traceback())
    task:cancel()
  end)

  it("says that a task has not started", function()
    local task = lilac.create_task(function() end)
    assert.matches("not started", task:traceback())
  end)

  it("shows the running task itself", function()
    assert.matches("task_spec.lua", lilac.current_task():traceback())
  end)

  it("shows where a failed task has failed, and nothing after success", function()
    local function fail_here() error "x" end
    local failed = start(function() fail_here() end)
    assert.matches("fail_here", failed:traceback())
    assert.is_string(failed:exception())
    assert.is_nil(start(function() end):traceback())
  end)
end)

describe("current_task and all_tasks", function()
  it("are the running task, and nil in a callback", function()
    assert.equal(lilac.current_task(), lilac.current_task())
    local task = lilac.create_task(lilac.current_task)
    assert.equal(task, task:await())
    assert.same({ true, nil, n = 2 }, table.pack(in_callback(function()
      return lilac.current_task()
    end)))
  end)

  it("are the same inside coroutines", function()
    assert.equal(lilac.current_task(), coroutine.wrap(lilac.current_task)())
  end)

  it("are all that have not ended", function()
    local function list()
      local set, count = {}, 0
      for i, task in ipairs(lilac.all_tasks()) do
        set[task] = i
        count = count + 1
      end
      return set, count
    end
    local _, before = list()
    local a, b = lilac.create_task(lilac.sleep, 60), start(lilac.sleep, 60)
    local set, count = list()
    assert.equal(before + 2, count)
    assert.is_number(set[a])
    assert.is_number(set[b])
    assert.is_number(set[lilac.current_task()])
    a:cancel()
    b:cancel()
    settle()
    assert.equal(before, select(2, list()))
  end)
end)

describe("sleep", function()
  it("waits so many seconds, and returns its second argument", function()
    local began = lilac.time()
    assert.equal("x", lilac.sleep(0.005, "x"))
    assert.is_true(lilac.time() - began >= 0.005)
    assert.equal(0, select("#", lilac.sleep(0)))
    assert.is_false(lilac.sleep(0, false))
  end)

  it("of 0 gives all others that are ready one turn", function()
    local log = {}
    for i = 1, 3 do lilac.create_task(function() log[#log + 1] = i end) end
    lilac.sleep(0)
    if not SHUFFLED then assert.same({ 1, 2, 3 }, log) end
    settle()
  end)

  it("of a negative time is one of 0", function()
    lilac.sleep(-1)
    lilac.sleep(-1 / 0)
  end)

  it("ends in the order of the times, not of the calls", function()
    local log, tasks, now = {}, {}, lilac.time()
    for i, seconds in ipairs { 0.008, 0.002, 0.005 } do
      tasks[i] = lilac.create_task(function()
        lilac.sleep_until(now + seconds)
        log[#log + 1] = i
      end)
    end
    lilac.gather(tasks)
    if not SHUFFLED then assert.same({ 2, 3, 1 }, log) end
    assert.equal(3, #log)
  end)

  it("ends in the order of the times, though most others were cancelled meanwhile", function()
    local count = os.getenv "LILAC_STRESS" and 200 or 2000
    local log, tasks, kept, gate, base, asleep = {}, {}, {}, lilac.Event(), nil, 0
    local began = lilac.time()
    for i = 1, count do
      tasks[i] = lilac.create_task(function()
        gate:wait()
        local seconds = (i * 7919 % count) / count / 20 -- all different, in no order
        asleep = asleep + 1
        lilac.sleep_until(base + seconds)
        log[#log + 1] = seconds
      end)
    end
    settle()
    base = lilac.time() + 0.02 + lilac.time() - began -- when all of them will be asleep
    gate:set()
    while asleep < count do lilac.sleep(0) end
    for i = 1, count do
      local place = i * 4801 % count + 1
      if place % 9 == 0 then kept[#kept + 1] = tasks[place] else tasks[place]:cancel() end
    end
    lilac.gather(kept)
    assert.is_true(#log >= #kept) -- a slow machine comes too late to cancel all the others
    if SHUFFLED then return end
    for i = 2, #log do assert.is_true(log[i - 1] < log[i]) end
  end)

  it("for ever can be cancelled", function()
    local task = start(lilac.sleep, math.huge)
    task:cancel()
    assert.equal("cancelled", outcome(task))
  end)

  it("refuses what is no number of seconds", function()
    assert.error_matches(function() lilac.sleep() end,
      "bad argument #1 to 'sleep' %(number expected, got no value%)")
    assert.error_matches(function() lilac.sleep(nil) end,
      "bad argument #1 to 'sleep' %(number expected, got nil%)")
    assert.error_matches(function() lilac.sleep "x" end, "number expected, got string")
    assert.error_matches(function() lilac.sleep(0 / 0) end, "bad argument #1 to 'sleep'")
  end)

  it("is refused in a callback", function()
    local ok, err = in_callback(function() lilac.sleep(0) end)
    assert.is_false(ok)
    assert.matches("^sleep: cannot await in a callback", err.message)
  end)
end)

describe("sleep_until and time", function()
  it("wait until a time of the loop", function()
    local when = lilac.time() + 0.005
    assert.equal("x", lilac.sleep_until(when, "x"))
    assert.is_true(lilac.time() >= when)
    lilac.sleep_until(lilac.time() - 1)
  end)

  it("read a clock that never goes back, at each call", function()
    local before = lilac.time()
    for _ = 1, 100 do
      local now = lilac.time()
      assert.is_true(now >= before)
      before = now
    end
    while lilac.time() < before + 0.001 do end
  end)
end)

describe("Future", function()
  it("is pending at first", function()
    local future = lilac.Future()
    assert.is_false(future:done())
    assert.is_false(future:cancelled())
    assert.matches("^Future %(pending%): ", tostring(future))
    raises("InvalidStateError", future.result, future)
    raises("InvalidStateError", future.exception, future)
  end)

  it("gives its results to all who await it", function()
    local future = lilac.Future()
    local a, b = start(future.await, future), start(future.await, future)
    future:set_result(1, nil, 3)
    for _, task in ipairs { a, b } do
      assert.same({ 1, nil, 3, n = 3 }, table.pack(task:await()))
    end
    assert.same({ 1, nil, 3, n = 3 }, table.pack(future:result()))
    assert.is_nil(future:exception())
    assert.matches("%(done%)", tostring(future))
  end)

  it("may have no result at all", function()
    local future = lilac.Future()
    future:set_result()
    assert.equal(0, select("#", future:await()))
  end)

  it("raises its error for all who await it", function()
    local future, err = lilac.Future(), {}
    local a = start(future.await, future)
    future:set_exception(err)
    settle()
    assert.equal(err, a:exception())
    assert.equal(err, select(2, pcall(future.await, future)))
    assert.equal(err, future:exception())
    assert.matches("%(failed%)", tostring(future))
  end)

  it("can be ended once", function()
    local future = lilac.Future()
    future:set_result(1)
    assert.matches("ended already", raises("InvalidStateError", future.set_result, future).message)
    raises("InvalidStateError", future.set_exception, future, "x")
    assert.is_false(future:cancel())
    assert.equal(1, future:result())
  end)

  it("can be cancelled, which who awaits it gets as an ordinary error", function()
    local future = lilac.Future()
    local a = start(function() return pcall(future.await, future) end)
    local b = start(future.await, future)
    assert.is_true(future:cancel())
    assert.is_true(future:cancelled())
    assert.is_true(future:done())
    local ok, err = a:await()
    assert.is_false(ok)
    assert.is_true(errors.is(err, "CancelledError"))
    assert.equal("failed", outcome(b))
    assert.equal(err, b:exception())
    raises("InvalidStateError", future.set_result, future, 1)
    raises("CancelledError", future.result, future)
    raises("CancelledError", future.exception, future)
  end)

  it("keeps the message of its cancellation, and where it was asked for", function()
    local future = lilac.Future()
    future:cancel "why"
    assert.matches("future:cancel%(%) at .*task_spec.lua:%d+: why$",
      raises("CancelledError", future.result, future).message)
  end)

  it("calls done callbacks with itself", function()
    local future, got = lilac.Future(), nil
    future:add_done_callback(function(f) got = f end)
    settle()
    assert.is_nil(got)
    future:set_result()
    assert.is_nil(got)
    settle()
    assert.equal(future, got)
  end)

  it("may be ended in a callback", function()
    local future = lilac.Future()
    lilac.call_soon(future.set_result, future, "x")
    assert.equal("x", future:await())
  end)

  it("wants an error for set_exception", function()
    local future = lilac.Future()
    assert.error_matches(function() future:set_exception() end, "value expected")
    assert.error_matches(function() future:set_exception(nil) end, "value expected")
    assert.is_false(future:done())
  end)

  it("is named as what it is in the errors of Lua, as a task is", function()
    local future, task = lilac.Future(), start(function() end)
    assert.error_matches(function() return #future end, "get length of a Future value")
    assert.error_matches(function() task() end, "call a Task value")
    assert.error_matches(function() lilac.Queue().put(task, 1) end, "Queue expected, got Task")
  end)

  it("is known by is_future, as a task is, and nothing else", function()
    assert.is_true(lilac.is_future(lilac.Future()))
    assert.is_true(lilac.is_future(lilac.current_task()))
    for _, other in ipairs { 1, "x", {}, io.stdout, print, coroutine.create(print) } do
      assert.is_false(lilac.is_future(other))
    end
    assert.is_false(lilac.is_future(nil))
    assert.error_matches(function() lilac.is_future() end, "value expected")
  end)
end)

describe("shield", function()
  it("returns results and raises errors like await", function()
    assert.same({ 1, nil, 3, n = 3 },
      table.pack(lilac.shield(lilac.create_task(function() return 1, nil, 3 end))))
    assert.same({ false, "oops" }, { pcall(lilac.shield, lilac.create_task(error, "oops", 0)) })
    assert.equal("x", lilac.shield(start(function() return "x" end)))
  end)

  it("runs a function in a task of its own", function()
    assert.is_true(lilac.shield(lilac.current_task) ~= lilac.current_task())
  end)

  it("leaves what it awaits running when the caller is cancelled", function()
    for _, as_function in ipairs { false, true } do
      local gate, ended = lilac.Event(), false
      local function work()
        gate:wait()
        ended = true
      end
      local task = not as_function and lilac.create_task(work)
      local caller = start(lilac.shield, task or work)
      caller:cancel()
      assert.equal("cancelled", outcome(caller))
      assert.is_false(ended)
      gate:set()
      settle()
      assert.is_true(ended)
    end
  end)

  it("ends the caller's wait at once, though clean-up follows", function()
    local task = start(lilac.sleep, 60)
    local caller = start(lilac.shield, task)
    caller:cancel()
    assert.equal("cancelled", outcome(caller))
    assert.is_false(task:done())
    task:cancel()
  end)

  it("raises a CancelledError that pcall catches when what it awaits is cancelled", function()
    local task = start(lilac.sleep, 60)
    local caller = start(function() return pcall(lilac.shield, task) end)
    task:cancel()
    local ok, err = caller:await()
    assert.is_false(ok)
    assert.is_true(errors.is(err, "CancelledError"))
  end)

  it("gives the result that came with a cancellation, which is raised next", function()
    local future, got = lilac.Future(), nil
    local caller = start(function()
      got = lilac.shield(future)
      lilac.sleep(60)
    end)
    future:set_result "result"
    caller:cancel()
    assert.equal("cancelled", outcome(caller))
    assert.equal("result", got)
  end)

  it("protects a gather", function()
    local gate = lilac.Event()
    local task = lilac.create_task(gate.wait, gate)
    local caller = start(lilac.shield, function() return lilac.gather(task) end)
    caller:cancel()
    assert.equal("cancelled", outcome(caller))
    assert.is_false(task:done())
    gate:set()
    assert.is_true(task:await())
  end)

  it("refuses what cannot be awaited", function()
    assert.error_matches(function() lilac.shield(1) end, "function, Task or Future expected")
  end)
end)

describe("run", function()
  it("inside the interpreter simply calls the function", function()
    local current
    assert.same({ 1, nil, 3, n = 3 }, table.pack(lilac.run(function(...)
      lilac.sleep(0)
      current = lilac.current_task()
      return ...
    end, 1, nil, 3)))
    assert.equal(lilac.current_task(), current)
    assert.same({ false, "oops" }, { pcall(lilac.run, error, "oops", 0) })
  end)
end)

describe("tasks", function()
  it("can be many, and each keeps what it has", function()
    local tasks, sum, count = {}, 0, os.getenv "LILAC_STRESS" and 200 or 5000
    for i = 1, count do
      tasks[i] = lilac.create_task(function()
        lilac.sleep(0)
        return i
      end)
    end
    for i = 1, count do sum = sum + tasks[i]:await() end
    assert.equal(count * (count + 1) // 2, sum)
  end)

  it("run their <close> variables when they fail", function()
    local closed_with
    local task = start(function()
      local _ <close> = on_close(function(err)
        lilac.sleep(0)
        closed_with = err
      end)
      error("oops", 0)
    end)
    assert.equal("failed", outcome(task))
    assert.equal("oops", closed_with)
    assert.equal("oops", task:exception())
  end)

  it("survive a stack overflow in one of them", function()
    local task = start(function()
      local function deeper() return 1 + deeper() end
      return deeper()
    end)
    assert.matches("stack overflow", task:exception())
    assert.equal(1, lilac.create_task(function() return 1 end):await())
  end)
end)
