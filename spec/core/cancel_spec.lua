local lilac = require "lilac"
local on_close = require "spec.support.on_close"
local outcome = require "spec.support.outcome"
local raises = require "spec.support.raises"
local run = require "spec.support.child"
local settle = require "spec.support.settle"
local errors, start = lilac.errors, settle.start

-- The error that a cancelled or failed task ended with.
local function error_of(task)
  settle()
  local ok, err = pcall(task.result, task)
  assert.is_false(ok)
  return err
end

describe("Task:cancel", function()
  it("raises a CancelledError where the task waits", function()
    local seen
    local task = start(function()
      local _ <close> = on_close(function(err) seen = err end)
      lilac.sleep(60)
    end)
    assert.is_true(task:cancel())
    assert.equal("cancelled", outcome(task))
    assert.is_true(errors.is(seen, "CancelledError"))
    assert.equal(seen, error_of(task))
  end)

  it("is not carried out before the task has its turn", function()
    local task = start(lilac.sleep, 60)
    task:cancel()
    assert.is_false(task:done())
    assert.is_false(task:cancelled())
    assert.equal("cancelled", outcome(task))
  end)

  it("returns false for a task that has ended, and leaves its result alone", function()
    local task = start(function() return 7 end)
    assert.is_false(task:cancel())
    assert.equal(0, task:cancelling())
    assert.equal(7, task:result())
    assert.is_false(task:cancelled())
  end)

  it("says in the error who asked, where, and why", function()
    local task = start(lilac.sleep, 60)
    task:cancel("tired")
    local line = debug.getinfo(1, "l").currentline - 1
    local text = tostring(error_of(task))
    assert.equal(("CancelledError: cancelled by task:cancel() at %s:%d: tired")
      :format(debug.getinfo(1, "S").short_src, line), text)
  end)

  it("takes any value as its message", function()
    local task = start(lilac.sleep, 60)
    task:cancel(17)
    assert.matches(": 17$", error_of(task).message)
  end)

  it("ends a task that has not started without running it", function()
    local ran = false
    local task = lilac.create_task(function() ran = true end)
    task:cancel "early"
    assert.equal("cancelled", outcome(task))
    assert.is_false(ran)
    assert.matches("early$", error_of(task).message)
  end)

  it("is raised once, though it was asked for twice", function()
    local task = start(function()
      local ok = lilac.pcall(lilac.sleep, 60)
      lilac.sleep(0)
      return ok, lilac.current_task():cancelling()
    end)
    task:cancel "one"
    task:cancel "two"
    assert.same({ false, 2 }, { task:await() })
  end)

  it("keeps the message of the last of several requests", function()
    local task = start(lilac.sleep, 60)
    task:cancel "one"
    task:cancel "two"
    assert.matches("two$", error_of(task).message)
  end)

  it("has a message for one of the tasks that the same line cancels, or for none", function()
    local tasks = {}
    for i = 1, 3 do tasks[i] = start(lilac.sleep, 60) end
    for _, task in ipairs(tasks) do task:cancel() end
    tasks[2]:cancel "alone"
    for i, ending in ipairs {":%d+$", ": alone$", ":%d+$"} do
      assert.matches("^cancelled by task:cancel%(%) at .*" .. ending, error_of(tasks[i]).message)
    end
  end)

  it("may be caught with lilac.pcall: then the task goes on, and is not cancelled", function()
    local task = start(function()
      local ok, err = lilac.pcall(lilac.sleep, 60)
      lilac.sleep(0)
      return ok, err.name
    end)
    task:cancel()
    assert.same({ false, "CancelledError" }, { task:await() })
    assert.is_false(task:cancelled())
  end)

  it("can be asked for again after it was caught", function()
    local task = start(function()
      lilac.pcall(lilac.sleep, 60)
      lilac.sleep(60)
    end)
    task:cancel()
    settle()
    assert.is_false(task:done())
    task:cancel()
    assert.equal("cancelled", outcome(task))
  end)

  it("reaches a running task at its next await", function()
    local log = {}
    local task = start(function()
      lilac.current_task():cancel()
      log[1] = "went on"
      lilac.sleep(0)
      log[2] = "never"
    end)
    assert.equal("cancelled", outcome(task))
    assert.same({ "went on" }, log)
  end)

  it("reaches a task at an await that would not have waited", function()
    local future = lilac.Future()
    future:set_result(1)
    local task = start(function()
      lilac.current_task():cancel()
      return future:await()
    end)
    assert.equal("cancelled", outcome(task))
  end)

  it("is not lost when the task returns before it could be raised", function()
    local task = start(function()
      lilac.current_task():cancel "late"
      return 1
    end)
    assert.equal("cancelled", outcome(task))
    assert.matches("late$", error_of(task).message)
  end)

  it("does not hide the error of a task that fails before it could be raised", function()
    local task = start(function()
      lilac.current_task():cancel()
      error("oops", 0)
    end)
    assert.equal("failed", outcome(task))
    assert.equal("oops", task:exception())
  end)

  it("ends the task as cancelled when its error is raised again", function()
    local task = start(function()
      local _, err = lilac.pcall(lilac.sleep, 60)
      error(err, 0)
    end)
    task:cancel()
    assert.equal("cancelled", outcome(task))
  end)

  it("ends the task as failed when clean-up raises another error", function()
    local task = start(function()
      local _ <close> = on_close(function() error("broken", 0) end)
      lilac.sleep(60)
    end)
    task:cancel()
    assert.equal("failed", outcome(task))
    assert.equal("broken", task:exception())
  end)

  it("lets clean-up wait", function()
    local log = {}
    local task = start(function()
      local _ <close> = on_close(function()
        lilac.sleep(0.001)
        log[#log + 1] = "outer"
      end)
      local _ <close> = on_close(function()
        lilac.sleep(0.001)
        log[#log + 1] = "inner"
      end)
      lilac.sleep(60)
    end)
    task:cancel()
    raises("CancelledError", task.await, task)
    assert.same({ "inner", "outer" }, log)
  end)

  it("interrupts clean-up too, when it is asked for again", function()
    local first, second
    local task = start(function()
      local _ <close> = on_close(function(err) second = err end)
      local _ <close> = on_close(function(err)
        first = err
        lilac.sleep(60)
      end)
      lilac.sleep(60)
    end)
    task:cancel "one"
    settle()
    assert.is_false(task:done())
    task:cancel "two"
    assert.equal("cancelled", outcome(task))
    assert.matches("one$", first.message)
    assert.matches("two$", second.message)
  end)

  it("reaches a task in sleep(0)", function()
    local count = 0
    local task = start(function()
      while true do
        count = count + 1
        lilac.sleep(0)
      end
    end)
    task:cancel()
    assert.equal("cancelled", outcome(task))
    assert.is_true(count > 0)
  end)
end)

describe("Task:uncancel and Task:cancelling", function()
  it("count the requests, down to none", function()
    local task = start(function() lilac.pcall(lilac.sleep, 60) lilac.sleep(60) end)
    assert.equal(0, task:cancelling())
    assert.equal(0, task:uncancel())
    task:cancel()
    task:cancel()
    assert.equal(2, task:cancelling())
    settle()
    assert.equal(2, task:cancelling())
    assert.equal(1, task:uncancel())
    assert.equal(0, task:uncancel())
    assert.equal(0, task:uncancel())
    task:cancel()
    assert.equal(1, task:cancelling())
    assert.equal("cancelled", outcome(task))
    assert.equal(1, task:cancelling())
  end)

  it("do not stop a cancellation that is on its way", function()
    local task = start(lilac.sleep, 60)
    task:cancel()
    task:uncancel()
    assert.equal("cancelled", outcome(task))
  end)

  it("drop one that the task has asked of itself and not met yet", function()
    local task = start(function()
      local self = lilac.current_task()
      self:cancel()
      self:uncancel()
      lilac.sleep(0)
      return "on"
    end)
    assert.equal("on", task:await())
  end)

  it("keep it while another request stands", function()
    local task = start(function()
      local self = lilac.current_task()
      self:cancel()
      self:cancel()
      self:uncancel()
      lilac.sleep(0)
    end)
    assert.equal("cancelled", outcome(task))
  end)
end)

describe("A cancelled task that awaits another", function()
  it("cancels that one, and waits for its end before its own", function()
    local log = {}
    local child = start(function()
      local _ <close> = on_close(function()
        lilac.sleep(0.001)
        log[#log + 1] = "child"
      end)
      lilac.sleep(60)
    end)
    local parent = start(function()
      local _ <close> = on_close(function() log[#log + 1] = "parent" end)
      child:await()
    end)
    parent:cancel()
    raises("CancelledError", parent.await, parent)
    assert.same({ "child", "parent" }, log)
    assert.is_true(child:cancelled())
    assert.is_true(parent:cancelled())
  end)

  it("tells the other one who has asked", function()
    local child = start(lilac.sleep, 60)
    local parent = start(child.await, child)
    parent:cancel()
    assert.equal("cancelled", outcome(child))
    assert.matches("task:cancel%(%) at .*cancel_spec", error_of(child).message)
  end)

  it("raises its own cancellation though the other one returned", function()
    local child = start(function()
      lilac.pcall(lilac.sleep, 60)
      return "swallowed"
    end)
    local after
    local parent = start(function()
      after = child:await()
    end)
    parent:cancel "mine"
    assert.equal("cancelled", outcome(parent))
    assert.is_nil(after)
    assert.matches("mine$", error_of(parent).message)
    assert.equal("swallowed", child:result())
  end)

  it("has the error of the other one's clean-up as its cause", function()
    local child = start(function()
      local _ <close> = on_close(function() error("broken", 0) end)
      lilac.sleep(60)
    end)
    local parent = start(child.await, child)
    parent:cancel()
    assert.equal("cancelled", outcome(parent))
    assert.equal("broken", error_of(parent).cause)
    assert.is_true(child:failed())
  end)

  it("reaches it also where a timeout has begun the cancellation of both", function()
    local future, after = lilac.Future(), nil
    local task = start(function()
      pcall(lilac.timeout, 0.01, function() future:await() end)
      lilac.sleep(60)
      after = true
    end)
    raises("CancelledError", lilac.gather, { future, task }, { cancel_on_error = true })
    assert.is_true(task:cancelled())
    assert.is_nil(after)
  end)

  it("has no cause when the other one was just cancelled", function()
    local child = start(lilac.sleep, 60)
    local parent = start(child.await, child)
    parent:cancel()
    assert.equal("cancelled", outcome(parent))
    assert.is_nil(error_of(parent).cause)
  end)

  it("does so over any number of tasks", function()
    local log, task = {}, nil
    for i = 1, 5 do
      local inner = task
      task = start(function()
        local _ <close> = on_close(function() log[#log + 1] = i end)
        if inner then inner:await() else lilac.sleep(60) end
      end)
    end
    task:cancel()
    assert.equal("cancelled", outcome(task))
    assert.same({ 1, 2, 3, 4, 5 }, log)
  end)

  it("waits on when it is cancelled again meanwhile, and raises one cancellation", function()
    local raised = 0
    local gate = lilac.Event()
    local child = start(function()
      local _ <close> = on_close(function() lilac.pcall(gate.wait, gate) gate:wait() end)
      lilac.sleep(60)
    end)
    local parent = start(function()
      local ok = lilac.pcall(child.await, child)
      raised = raised + (ok and 0 or 1)
      lilac.sleep(0)
      return child:done()
    end)
    parent:cancel()
    settle()
    parent:cancel()
    settle()
    assert.is_false(parent:done())
    gate:set()
    assert.is_true(parent:await())
    assert.equal(1, raised)
  end)

  it("cancels a plain future at once", function()
    local future = lilac.Future()
    local parent = start(future.await, future)
    parent:cancel()
    assert.is_true(future:cancelled())
    assert.equal("cancelled", outcome(parent))
  end)

  it("takes the others who await that one along, as failed tasks", function()
    local child = start(lilac.sleep, 60)
    local one, two = start(child.await, child), start(child.await, child)
    one:cancel()
    assert.equal("cancelled", outcome(one))
    assert.equal("failed", outcome(two))
    assert.is_true(errors.is(two:exception(), "CancelledError"))
  end)

  it("raises its own cancellation when a future was cancelled in the same tick, in any order",
    function()
      for _, first in ipairs { "future", "task" } do
        local future = lilac.Future()
        local task = start(future.await, future)
        if first == "future" then future:cancel() end
        task:cancel("both")
        future:cancel()
        assert.equal("cancelled", outcome(task))
        assert.matches("both$", error_of(task).message)
      end
    end)

  it("gets the result of one that has ended in the same tick", function()
    local gate, got = lilac.Event(), nil
    local child = start(function()
      gate:wait()
      return "result"
    end)
    local parent = start(function()
      got = child:await()
      lilac.sleep(60)
    end)
    child:add_done_callback(function() parent:cancel() end)
    gate:set()
    assert.equal("cancelled", outcome(parent))
    assert.equal("result", child:result())
    if not os.getenv "LILAC_SHUFFLE" then assert.equal("result", got) end
    assert.is_true(got == "result" or got == nil)
  end)
end)

describe("Awaiting another task that was cancelled", function()
  local function cancelled_task()
    local task = start(lilac.sleep, 60)
    task:cancel()
    settle()
    return task
  end

  it("raises a CancelledError that pcall catches", function()
    local task = cancelled_task()
    local ok, err = pcall(task.await, task)
    assert.is_false(ok)
    assert.is_true(errors.is(err, "CancelledError"))
  end)

  it("ends the awaiting task as failed, not as cancelled", function()
    local task = cancelled_task()
    local other = start(task.await, task)
    assert.equal("failed", outcome(other))
    assert.is_true(errors.is(other:exception(), "CancelledError"))
  end)

  it("is caught when it happens while the other waits", function()
    local task = start(lilac.sleep, 60)
    local other = start(function() return pcall(task.await, task) end)
    task:cancel()
    local ok, err = other:await()
    assert.is_false(ok)
    assert.equal("CancelledError", err.name)
  end)

  it("raises the same for result and exception", function()
    local task = cancelled_task()
    local err = raises("CancelledError", task.result, task)
    assert.equal(err, raises("CancelledError", task.exception, task))
    assert.equal(err, raises("CancelledError", task.await, task))
  end)

  it("is caught also by the task that has cancelled it", function()
    local caught
    local main = start(function()
      local task = lilac.create_task(lilac.sleep, 60)
      task:cancel()
      caught = not pcall(task.await, task)
    end)
    assert.equal("done", outcome(main))
    assert.is_true(caught)
  end)
end)

describe("Tasks that the same line cancels", function()
  -- Tasks that were cancelled together, each running body(i), and main's view of how they ended.
  local function cancelled_together(count, body)
    local tasks = {}
    for i = 1, count do tasks[i] = start(body or lilac.sleep, body and i or 60) end
    for _, task in ipairs(tasks) do task:cancel() end
    return tasks, lilac.gather(tasks, { return_exceptions = true })
  end

  it("share the error that they end with", function()
    local tasks, outcomes = cancelled_together(3)
    for i, task in ipairs(tasks) do
      assert.is_true(task:cancelled())
      assert.is_true(errors.is(outcomes[i], "CancelledError"))
      assert.equal(outcomes[1], outcomes[i])
    end
  end)

  it("have an error of their own for whoever awaits one of them", function()
    local tasks, outcomes = cancelled_together(3)
    local first = raises("CancelledError", tasks[1].await, tasks[1])
    local second = raises("CancelledError", tasks[2].await, tasks[2])
    assert.not_equal(first, second)
    assert.not_equal(outcomes[3], first)
    assert.equal(outcomes[3].message, first.message)
    assert.equal(first, raises("CancelledError", tasks[1].result, tasks[1]))
  end)

  it("keep what has happened in the clean-up of one to that one", function()
    local _, outcomes = cancelled_together(3, function(i)
      local child = lilac.create_task(function()
        local _ <close> = on_close(function() if i == 2 then error "no clean end" end end)
        lilac.sleep(60)
      end)
      child:await()
    end)
    assert.is_nil(outcomes[1].cause)
    assert.matches("no clean end", outcomes[2].cause)
    assert.is_nil(outcomes[3].cause)
    assert.not_equal(outcomes[1], outcomes[2])
  end)

  it("let it pass through pcall, and through what awaits in their clean-up", function()
    local passed = 0
    local tasks = cancelled_together(3, function()
      local _ <close> = on_close(function()
        lilac.sleep(0)
        passed = passed + 1
      end)
      for _ = 1, 10 do pcall(lilac.sleep, 60) end
    end)
    for _, task in ipairs(tasks) do assert.is_true(task:cancelled()) end
    assert.equal(3, passed)
  end)

  it("may catch it, and raise it again", function()
    local caught = {}
    local tasks = cancelled_together(3, function(i)
      caught[i] = select(2, lilac.pcall(lilac.sleep, 60))
      if i > 1 then error(caught[i], 0) end
    end)
    assert.equal("done", outcome(tasks[1]))
    assert.equal("cancelled", outcome(tasks[2]))
    assert.equal("cancelled", outcome(tasks[3]))
    assert.not_equal(caught[2], caught[3])
  end)

  it("give away what they have caught, with what they have put into it", function()
    local queue = lilac.Queue()
    cancelled_together(3, function(i)
      local err = select(2, lilac.pcall(lilac.sleep, 60))
      err.block = i
      queue:put_nowait(err)
      error(errors.new("OSError", "failed", { cause = err }))
    end)
    local blocks = {}
    for i = 1, 3 do blocks[i] = queue:get_nowait().block end
    table.sort(blocks)
    assert.same({ 1, 2, 3 }, blocks)
  end)

  it("get another error when they are cancelled again", function()
    local notes, rounds, gate = {}, 3, lilac.Event()
    local holds = start(function() -- has the request of the first round, as it does not wake up yet
      local _ <close> = on_close(function() lilac.shield(function() gate:wait() end) end)
      lilac.sleep(60)
    end)
    local catches = start(function()
      for round = 1, rounds do
        local err = select(2, lilac.pcall(lilac.sleep, 60))
        lilac.current_task():uncancel()
        notes[round] = err.note or "nothing"
        err.note = "of round " .. round
      end
    end)
    for _ = 1, rounds do
      for _, task in ipairs { holds, catches } do task:cancel() end
      settle()
    end
    gate:set()
    assert.same({ "nothing", "nothing", "nothing" }, notes)
    assert.equal("cancelled", outcome(holds))
  end)

  it("do not take each other's for their own", function()
    local tasks, caught, gate = {}, nil, lilac.Event()
    for i = 2, 3 do tasks[i] = start(lilac.sleep, 60) end
    tasks[1] = start(function()
      lilac.pcall(gate.wait, gate)
      lilac.current_task():uncancel()
      local others = lilac.gather({ tasks[2], tasks[3] }, { return_exceptions = true })
      caught = not pcall(error, others[1])
      error(others[1], 0)
    end)
    for i = 1, 3 do tasks[i]:cancel() end
    assert.equal("failed", outcome(tasks[1]))
    assert.is_true(errors.is(tasks[1]:exception(), "CancelledError"))
    assert.is_true(caught)
  end)

  it("do not get one that has come to them before", function()
    local function cancel(task) task:cancel() end
    local slow = start(function()
      lilac.pcall(lilac.sleep, 60)
      lilac.sleep(0.01)
    end)
    local tasks = { start(lilac.sleep, 60), start(lilac.sleep, 60) }
    local holds = start(slow.await, slow) -- has the request until `slow` has ended
    local caught
    local late = start(function()
      local others = lilac.gather(tasks, { return_exceptions = true })
      lilac.pcall(lilac.sleep, 60)
      lilac.current_task():uncancel()
      caught = not pcall(error, others[1], 0)
    end)
    cancel(tasks[1])
    cancel(tasks[2])
    cancel(holds)
    settle()
    cancel(late)
    assert.equal("done", outcome(late))
    assert.is_true(caught)
    assert.equal("cancelled", outcome(holds))
  end)

  it("do not get one that comes to them before it is raised", function()
    local function cancel(task) task:cancel() end
    local event, seen, caught = lilac.Event(), nil, false
    local tasks = {}
    for i = 1, 2 do
      tasks[i] = start(function()
        local _ <close> = on_close(function(err) seen = seen or err end)
        lilac.sleep(60)
      end)
    end
    local woken = start(function()
      event:wait()
      local got = seen
      lilac.pcall(lilac.sleep, 60)
      lilac.current_task():uncancel()
      caught = not pcall(error, got, 0)
    end)
    cancel(tasks[1])
    event:set()
    cancel(tasks[2])
    cancel(woken)
    assert.equal("done", outcome(woken))
    assert.is_true(caught)
  end)

  it("share one that others cannot put anything into", function()
    local _, outcomes = cancelled_together(2)
    local err = raises("InvalidStateError", function() outcomes[1].note = "x" end)
    assert.matches("await one of them for an error of its own", err.message)
    assert.is_nil(outcomes[2].note)
  end)

  it("end so also before they have begun", function()
    local ran, tasks = false, {}
    for i = 1, 3 do tasks[i] = lilac.create_task(function() ran = true end) end
    for _, task in ipairs(tasks) do task:cancel() end
    for _, task in ipairs(tasks) do assert.equal("cancelled", outcome(task)) end
    assert.is_false(ran)
  end)

  it("do not lend it to a task that was not cancelled: it is caught there", function()
    local _, outcomes = cancelled_together(3)
    local ok, err = pcall(error, outcomes[1])
    assert.is_false(ok)
    assert.equal(outcomes[1], err)
    local fails = start(error, outcomes[1])
    assert.equal("failed", outcome(fails))
    assert.is_true(errors.is(fails:exception(), "CancelledError"))
  end)

  it("do not lend it to those that another line has cancelled together", function()
    local _, others = cancelled_together(2)
    local caught = {}
    local tasks = cancelled_together(2, function(i)
      lilac.pcall(lilac.sleep, 60)
      lilac.current_task():uncancel()
      caught[i] = not pcall(error, others[1])
    end)
    for i, task in ipairs(tasks) do
      assert.equal("done", outcome(task))
      assert.is_true(caught[i])
    end
  end)

  it("know the first one still when another line has cancelled their clean-up", function()
    local gate, reached = lilac.Event(), 0
    local tasks = {}
    for i = 1, 3 do
      tasks[i] = start(function()
        pcall(function()
          local _ <close> = on_close(function() lilac.pcall(gate.wait, gate) end)
          lilac.sleep(60)
        end)
        reached = reached + 1
      end)
    end
    for _, task in ipairs(tasks) do task:cancel() end
    settle()
    for _, task in ipairs(tasks) do task:cancel() end
    for _, task in ipairs(tasks) do assert.equal("cancelled", outcome(task)) end
    assert.equal(0, reached)
  end)

  it("keep what each has put into it apart", function()
    local seen = {}
    local function body(i)
      local _ <close> = on_close(function(err)
        seen[i] = err.request or "nothing"
        err.request = i
        err.message = "of " .. i
        lilac.sleep(0)
        assert(err.request == i)
      end)
      lilac.sleep(60)
    end
    local tasks, outcomes = cancelled_together(3, body)
    for i, task in ipairs(tasks) do
      assert.equal("nothing", seen[i])
      assert.equal(i, outcomes[i].request)
      assert.matches(": of " .. i .. "$", outcomes[i].message)
      assert.equal(outcomes[i], raises("CancelledError", task.await, task))
    end
    tasks = cancelled_together(2)
    assert.is_nil(raises("CancelledError", tasks[1].await, tasks[1]).request)
  end)

  it("have a traceback for each place where it is raised again", function()
    local _, outcomes = cancelled_together(2)
    local function first() error(outcomes[1], 0) end
    local function second() error(outcomes[2], 0) end
    local one, two = start(function() first() end), start(function() second() end)
    settle()
    assert.matches("first", one:exception().traceback)
    assert.matches("second", two:exception().traceback)
    assert.is_nil(outcomes[1].traceback)
  end)
end)

describe("A cancellation, while its error is made,", function()
  -- The collector runs when it is told to, also in the specs under stress.
  local ON_ITS_OWN = { limit = 20, env = "env -u LILAC_STRESS" }

  local function ends(script, expected)
    local ended = run([[
      local lilac = require "lilac"
      local finalise = require "spec.support.finalise"
      local function sleeper() lilac.sleep(60) end
      local a, b = lilac.create_task(sleeper), lilac.create_task(sleeper)
      lilac.sleep(0.01)
    ]] .. script .. [[
      for _ = 1, 50 do lilac.sleep(0) end -- makes nothing: what is made next is the error
      lilac.wait { a, b }
      collectgarbage "incremental"
      for _, task in ipairs { a, b } do
        print(task:cancelled(), (select(2, pcall(task.await, task)).message:gsub("%S+:%d+", "")))
      end
    ]], ON_ITS_OWN)
    assert.equal("", ended.stderr)
    assert.equal(expected, ended.stdout)
  end

  it("may be asked for anew by a finaliser", function()
    ends([[
      for _, task in ipairs { a, b } do task:cancel() end
      finalise(function()
        a:cancel "anew"
        b:cancel "anew"
      end)]], "true\tcancelled by task:cancel() at : anew\n" ..
      "true\tcancelled by task:cancel() at : anew\n")
    ends([[
      a:cancel "first"
      finalise(function() a:cancel() b:cancel() end)]],
      "true\tcancelled by task:cancel() at \ntrue\tcancelled by task:cancel() at \n")
  end)

  it("may be called off by a finaliser", function()
    ends([[
      a:cancel()
      finalise(function() a:uncancel() b:cancel() end)]],
      "true\tcancelled by nobody\ntrue\tcancelled by task:cancel() at \n")
  end)

  it("comes too late for a future that a finaliser has ended", function()
    local ended = run([[
      local lilac = require "lilac"
      local finalise = require "spec.support.finalise"
      local future = lilac.Future()
      finalise(function() future:set_result "done" end)
      local asked = future:cancel("enough")
      print(asked, future:result())
    ]], ON_ITS_OWN)
    assert.equal("", ended.stderr)
    assert.equal("false\tdone\n", ended.stdout)
  end)
end)

describe("A CancelledError", function()
  local function cancelled_error()
    local task = start(lilac.sleep, 60)
    task:cancel()
    return error_of(task)
  end

  it("takes fields, as other errors do", function()
    local err, other = cancelled_error(), cancelled_error()
    assert.is_nil(err.note)
    err.note, err.message = "written down", "enough"
    assert.equal("written down", err.note)
    assert.matches("^CancelledError: cancelled by .*: enough$", tostring(err))
    assert.is_nil(other.note)
  end)

  it("takes them along into a thread", function()
    local err = cancelled_error()
    err.note = "written down"
    assert.same({ "CancelledError", "written down", err.message }, { lilac.to_thread(function(e)
      return e.name, e.note, e.message
    end, err) })
  end)

  it("takes them along when it is collected", function()
    local noted = setmetatable({}, { __mode = "k" })
    for _ = 1, 10 do
      local err = cancelled_error()
      err.note = {}
      noted[err.note] = true
    end
    collectgarbage()
    collectgarbage()
    local left = 0
    for _ in pairs(noted) do left = left + 1 end
    assert.is_true(left <= 1) -- the running task keeps the last one that it was raised
  end)

  it("tells a line beyond all that it can count as the last one that it can", function()
    local task = start(lilac.sleep, 60)
    assert(load(("\n"):rep(2 ^ 22 + 10) .. "(...):cancel()", "=long"))(task)
    assert.equal("cancelled by task:cancel() at long:4194303", error_of(task).message)
  end)
end)

describe("The cancellation of a task that is no more", function()
  it("is not mistaken for that of a later task", function()
    local tasks, old = {}, {}
    for i = 1, 200 do tasks[i] = lilac.create_task(lilac.sleep, 60) end
    settle()
    for i = 1, 200 do tasks[i]:cancel() end
    for i = 1, 200 do old[i] = select(2, pcall(tasks[i].await, tasks[i])) end
    tasks = {}
    collectgarbage()
    for i = 1, 200 do
      tasks[i] = lilac.create_task(function()
        for j = 1, 200 do assert(not pcall(error, old[j])) end
        error(old[i], 0)
      end)
    end
    local outcomes = lilac.gather(tasks, { return_exceptions = true })
    for i = 1, 200 do
      assert.equal(old[i], outcomes[i])
      assert.is_true(tasks[i]:failed())
    end
  end)
end)

describe("The own cancellation of a task", function()
  -- Runs body in a task, cancels it there, and returns how it ended and what it logged.
  local function cancelled_in(body)
    local log = {}
    local task = start(body, log)
    task:cancel()
    return outcome(task), log
  end

  it("passes pcall", function()
    local ended, log = cancelled_in(function(log)
      pcall(lilac.sleep, 60)
      log[1] = "caught"
    end)
    assert.equal("cancelled", ended)
    assert.same({}, log)
  end)

  it("passes xpcall, whose handler never sees it", function()
    local ended, log = cancelled_in(function(log)
      xpcall(lilac.sleep, function(err) log[#log + 1] = err return err end, 60)
      log[#log + 1] = "caught"
    end)
    assert.equal("cancelled", ended)
    assert.same({}, log)
  end)

  it("leaves the handlers of later xpcalls in place", function()
    local handled = 0
    local task = start(function()
      local function handler() handled = handled + 1 end
      lilac.pcall(xpcall, lilac.sleep, handler, 60)
      xpcall(error, handler, "x")
      return "on"
    end)
    task:cancel()
    assert.equal("on", task:await())
    assert.equal(1, handled)
  end)

  it("passes nested pcalls, and loops around them", function()
    local ended, log = cancelled_in(function(log)
      while true do
        pcall(pcall, pcall, function() lilac.sleep(60) end)
        log[#log + 1] = "again"
      end
    end)
    assert.equal("cancelled", ended)
    assert.same({}, log)
  end)

  it("passes coroutine.resume and coroutine.wrap", function()
    local ended, log = cancelled_in(function(log)
      coroutine.resume(coroutine.create(function()
        coroutine.wrap(function() lilac.sleep(60) end)()
        log[#log + 1] = "inside"
      end))
      log[#log + 1] = "outside"
    end)
    assert.equal("cancelled", ended)
    assert.same({}, log)
  end)

  it("passes pcall inside a coroutine", function()
    local ended, log = cancelled_in(function(log)
      local step = coroutine.wrap(function()
        pcall(lilac.sleep, 60)
        log[#log + 1] = "caught"
      end)
      pcall(step)
      log[#log + 1] = "outside"
    end)
    assert.equal("cancelled", ended)
    assert.same({}, log)
  end)

  it("runs the <close> variables of the coroutines it passes", function()
    local ended, log = cancelled_in(function(log)
      coroutine.wrap(function()
        local _ <close> = on_close(function()
          lilac.sleep(0)
          log[#log + 1] = "closed"
        end)
        lilac.sleep(60)
      end)()
    end)
    assert.equal("cancelled", ended)
    assert.same({ "closed" }, log)
  end)

  it("passes require, whose module can be loaded again", function()
    local gate = lilac.Event()
    package.preload["cancel.spec"] = function()
      gate:wait()
      return "loaded"
    end
    local ended = cancelled_in(function() pcall(require, "cancel.spec") end)
    assert.equal("cancelled", ended)
    gate:set()
    assert.equal("loaded", require "cancel.spec")
    package.preload["cancel.spec"], package.loaded["cancel.spec"] = nil, nil
  end)

  it("is an ordinary error to other tasks", function()
    local task = start(lilac.sleep, 60)
    task:cancel()
    settle()
    local err = error_of(task)
    assert.same({ false, err }, { pcall(error, err, 0) })
  end)

  it("is caught by pcall once its task has ended, also when it is raised again", function()
    local task = start(lilac.sleep, 60)
    task:cancel()
    settle()
    local err = error_of(task)
    local other = start(error, err, 0)
    assert.equal("failed", outcome(other))
    assert.equal(err, other:exception())
  end)
end)

describe("A cancellation that comes together with a result", function()
  -- A task that awaits a future, then sleeps; the order of what happens in one tick.
  local function race(...)
    local future, log = lilac.Future(), {}
    local task = start(function()
      log[1] = lilac.shield(future)
      lilac.sleep(0)
      log[2] = "never"
    end)
    for _, event in ipairs { ... } do
      if event == "done" then future:set_result "result" else task:cancel(event) end
    end
    return outcome(task), log, task
  end

  it("lets the result through and is raised at the next await", function()
    local ended, log = race("done", "cancel")
    assert.equal("cancelled", ended)
    assert.same({ "result" }, log)
  end)

  it("is raised at once when it came first", function()
    local ended, log = race("cancel", "done")
    assert.equal("cancelled", ended)
    assert.same({}, log)
  end)

  it("is raised once when it comes before and after", function()
    local ended, log = race("cancel", "done", "cancel")
    assert.equal("cancelled", ended)
    assert.same({}, log)
  end)

  it("does not take the error that came first either", function()
    local future = lilac.Future()
    local caught
    local task = start(function()
      caught = select(2, pcall(future.await, future))
      lilac.sleep(0)
    end)
    future:set_exception "oops"
    task:cancel()
    assert.equal("cancelled", outcome(task))
    assert.equal("oops", caught)
  end)

  it("takes no item from a queue, no permit and no lock with it", function()
    local queue, got = lilac.Queue(), nil
    local task = start(function()
      got = queue:get()
      lilac.sleep(0)
    end)
    queue:put "item"
    task:cancel()
    assert.equal("cancelled", outcome(task))
    assert.equal("item", got)
  end)
end)

describe("An end, a scope's cancellation and the task's own in the same tick", function()
  -- All orders of all subsets of the three events.
  local orders = { {} }
  for _, order in ipairs(orders) do
    for _, event in ipairs { "done", "scope", "cancel" } do
      if not table.concat(order, " "):find(event) then
        orders[#orders + 1] = table.move(order, 1, #order, 1, {})
        table.insert(orders[#orders], event)
      end
    end
  end

  -- The ways to wait: fn(future) → a function that waits until the future has ended.
  local waits = {
    shield = function(future) return function() return lilac.shield(future) end end,
    await = function(future)
      local task = lilac.create_task(lilac.shield, future)
      return function() return task:await() end
    end,
    gather = function(future)
      return function() return lilac.gather(function() return lilac.shield(future) end) end
    end,
    wait_for = function(future)
      local task = lilac.create_task(lilac.shield, future)
      return function() return lilac.wait_for(task, 60) end
    end,
    timeout = function(future)
      return function() return lilac.timeout(60, lilac.shield, future) end
    end,
    group = function(future)
      return function()
        return lilac.TaskGroup(function(tg) return tg:create_task(lilac.shield, future):await() end)
      end
    end,
  }

  -- Lets the events happen to a task that waits in a scope. Returns what the wait gave, whether the
  -- task was cancelled afterwards, and whether it was once more.
  local function race(wait, order)
    local future, group = lilac.Future(), nil
    local wait_here = wait(future)
    local task = start(function()
      local got
      local ok = lilac.pcall(function()
        lilac.TaskGroup(function(tg)
          group = tg
          got = wait_here()
        end)
        lilac.sleep(0)
      end)
      return got, not ok, not lilac.pcall(lilac.sleep, 0)
    end)
    for _, event in ipairs(order) do
      if event == "done" then future:set_result "result" end
      if event == "scope" then group:cancel() end
      if event == "cancel" then task:cancel() end
    end
    if #order == 0 then future:set_result "result" end
    return task:await()
  end

  for name, wait in pairs(waits) do
    it("each counts once, and the own one is never lost, in " .. name, function()
      for _, order in ipairs(orders) do
        local text = table.concat(order, ", ")
        local got, cancelled, again = race(wait, order)
        assert.equal(text:find "cancel" ~= nil, cancelled, text)
        assert.is_false(again, text)
        if name == "shield" or name == "timeout" then
          local first = order[1] or "done"
          assert.equal(first == "done" and "result" or nil, got, text)
        end
        if #order == 0 or text == "done" then assert.equal("result", got, text) end
      end
    end)
  end
end)

describe("<close> of a Task", function()
  it("cancels it and waits for its end", function()
    local ended = false
    do
      local _ <close> = start(function()
        local _ <close> = on_close(function()
          lilac.sleep(0.001)
          ended = true
        end)
        lilac.sleep(60)
      end)
    end
    assert.is_true(ended)
  end)

  it("does nothing to one that has ended", function()
    local task = start(function() return 1 end)
    do local _ <close> = task end
    assert.equal(1, task:result())
  end)

  it("raises nothing when the clean-up of the task fails", function()
    local task
    do
      task = start(function()
        local _ <close> = on_close(function() error("broken", 0) end)
        lilac.sleep(60)
      end)
      local _ <close> = task
    end
    assert.equal("broken", task:exception())
  end)

  it("lets the error that leaves the scope go on", function()
    local task
    local ok, err = pcall(function()
      local child <close> = start(lilac.sleep, 60)
      task = child
      error("mine", 0)
    end)
    assert.same({ false, "mine" }, { ok, err })
    assert.is_true(task:cancelled())
  end)

  it("waits on when the closing task is cancelled meanwhile, which is raised afterwards", function()
    local gate, closing, ended = lilac.Event(), lilac.Event(), false
    local parent = start(function()
      do
        local _ <close> = lilac.create_task(function()
          local _ <close> = on_close(function()
            closing:set()
            lilac.pcall(gate.wait, gate)
            gate:wait()
            ended = true
          end)
          lilac.sleep(60)
        end)
        settle()
      end
      lilac.sleep(0)
      ended = "too far"
    end)
    closing:wait()
    parent:cancel()
    settle()
    assert.is_false(parent:done())
    gate:set()
    assert.equal("cancelled", outcome(parent))
    assert.is_true(ended)
  end)
end)
