local lilac = require "lilac"
local on_close = require "spec.support.on_close"
local outcome = require "spec.support.outcome"
local raises = require "spec.support.raises"
local settle = require "spec.support.settle"
local errors, start = lilac.errors, settle.start

local function fail(err)
  settle()
  error(err, 0)
end

local function for_ever() lilac.sleep(60) end

-- Fails with err in its clean-up when it is cancelled.
local function broken(err)
  local _ <close> = on_close(function() error(err, 0) end)
  lilac.sleep(60)
end

describe("TaskGroup as a scope", function()
  it("waits for all its tasks when it is left", function()
    local ended = 0
    do
      local tg <close> = lilac.TaskGroup()
      for i = 1, 3 do
        tg:create_task(function()
          lilac.sleep(0.001 * i)
          ended = ended + 1
        end)
      end
      assert.equal(0, ended)
    end
    assert.equal(3, ended)
  end)

  it("gives the tasks it creates their arguments, and their results later", function()
    local a, b
    do
      local tg <close> = lilac.TaskGroup()
      a = tg:create_task(function(...) return ... end, 1, nil, 3)
      b = tg:create_task(lilac.sleep, 0.001, "b")
    end
    assert.same({ 1, nil, 3, n = 3 }, table.pack(a:result()))
    assert.equal("b", b:result())
  end)

  it("may be left empty", function()
    do local _ <close> = lilac.TaskGroup() end
    lilac.sleep(0)
  end)

  it("waits for tasks that were created by its tasks, also while it waits", function()
    local log = {}
    do
      local tg <close> = lilac.TaskGroup()
      tg:create_task(function()
        settle()
        tg:create_task(function()
          settle()
          log[1] = "grandchild"
        end)
      end)
    end
    assert.same({ "grandchild" }, log)
  end)

  it("lets its body await its tasks", function()
    local tg <close> = lilac.TaskGroup()
    assert.equal("x", tg:create_task(lilac.sleep, 0, "x"):await())
  end)

  it("is left as itself by the error of one task, after the others were cancelled", function()
    local err, ended = {}, 0
    local function slow()
      local _ <close> = on_close(function()
        lilac.sleep(0.001)
        ended = ended + 1
      end)
      lilac.sleep(60)
    end
    local ok, raised = pcall(function()
      local tg <close> = lilac.TaskGroup()
      tg:create_task(slow)
      tg:create_task(fail, err)
      tg:create_task(slow)
    end)
    assert.is_false(ok)
    assert.equal(err, raised)
    assert.equal(2, ended)
  end)

  it("cancels its body when a task fails", function()
    local reached = false
    assert.same({ false, "oops" }, { pcall(function()
      local tg <close> = lilac.TaskGroup()
      tg:create_task(fail, "oops")
      pcall(lilac.sleep, 60)
      reached = true
    end) })
    assert.is_false(reached)
    assert.equal(0, lilac.current_task():cancelling())
    lilac.sleep(0)
  end)

  it("lets no task begin once one has failed, not even in the same turn", function()
    local began = 0
    local _, err = pcall(function()
      local tg <close> = lilac.TaskGroup()
      for i = 1, 3 do
        tg:create_task(function()
          began = began + 1
          error("failure " .. i, 0)
        end)
      end
    end)
    assert.equal(1, began)
    assert.matches("^failure %d$", err)
  end)

  it("tells in the cancellations that another task has failed", function()
    local seen
    pcall(function()
      local tg <close> = lilac.TaskGroup()
      tg:create_task(function()
        local _ <close> = on_close(function(err) seen = err end)
        lilac.sleep(60)
      end)
      tg:create_task(fail, "oops")
    end)
    assert.matches("cancelled by TaskGroup, as a task of it failed at .*group_spec.lua:%d+",
      seen.message)
  end)

  it("cancels its tasks when the body fails", function()
    local task
    assert.same({ false, "mine" }, { pcall(function()
      local tg <close> = lilac.TaskGroup()
      task = tg:create_task(for_ever)
      settle()
      error("mine", 0)
    end) })
    assert.is_true(task:cancelled())
  end)

  it("is left by one ExceptionGroup when several tasks fail", function()
    local one, two = {}, "two"
    local err = raises("ExceptionGroup", function()
      local tg <close> = lilac.TaskGroup()
      tg:create_task(broken, one)
      tg:create_task(fail, two)
    end)
    assert.equal(2, #err.errors)
    assert.equal(two, err.errors[1])
    assert.equal(one, err.errors[2])
    assert.equal("ExceptionGroup: 2 errors of a TaskGroup, the first: " .. tostring(two),
      tostring(err))
  end)

  it("puts the error of the body into the ExceptionGroup", function()
    local err = raises("ExceptionGroup", function()
      local tg <close> = lilac.TaskGroup()
      tg:create_task(broken, "task")
      settle()
      error("body", 0)
    end)
    assert.same({ "task", "body" }, err.errors)
  end)

  it("puts the error of the body's clean-up into it", function()
    local err = raises("ExceptionGroup", function()
      local tg <close> = lilac.TaskGroup()
      local _ <close> = on_close(function() error("body", 0) end)
      tg:create_task(fail, "task")
      lilac.sleep(60)
    end)
    assert.same({ "task", "body" }, err.errors)
  end)

  it("counts the same error once", function()
    local err = {}
    local ok, raised = pcall(function()
      local tg <close> = lilac.TaskGroup()
      tg:create_task(fail, err)
      tg:create_task(broken, err)
    end)
    assert.is_false(ok)
    assert.equal(err, raised)
  end)

  it("takes errors of any kind, and nothing but errors", function()
    local values = { "text", 7, false, {}, lilac.errors.new("OSError", "x"), 0 / 0, 0 / 0, 7.0 }
    local _, err = pcall(function()
      local tg <close> = lilac.TaskGroup()
      for i = 1, #values do tg:create_task(broken, values[i]) end
      settle()
      error("body", 0)
    end)
    local found, nans = {}, 0
    for key, value in pairs(err.errors) do
      assert.is_true(math.type(key) == "integer" and key >= 1 and key <= 8, key)
      if value ~= value then nans = nans + 1 else found[value] = true end
    end
    assert.equal(8, #err.errors)
    assert.equal(2, nans)
    for _, value in ipairs { "text", 7, false, values[4], values[5], "body" } do
      assert.is_true(found[value])
    end
  end)

  it("counts the error once of a task that the body awaits", function()
    local err = {}
    local ok, raised = pcall(function()
      local tg <close> = lilac.TaskGroup()
      tg:create_task(fail, err):await()
    end)
    assert.is_false(ok)
    assert.equal(err, raised)
  end)

  it("takes the errors: nobody else need", function()
    local task
    pcall(function()
      local tg <close> = lilac.TaskGroup()
      task = tg:create_task(fail, "oops")
    end)
    assert.equal("oops", task:exception())
  end)

  it("does not care for a task that was cancelled from elsewhere", function()
    local a, b
    do
      local tg <close> = lilac.TaskGroup()
      a, b = tg:create_task(for_ever), tg:create_task(lilac.sleep, 0.003, "b")
      settle.start(function() a:cancel() end)
    end
    assert.is_true(a:cancelled())
    assert.equal("b", b:result())
  end)

  it("is left by the error of a body that awaits a cancelled task", function()
    local task
    local err = raises("CancelledError", function()
      local tg <close> = lilac.TaskGroup()
      task = tg:create_task(for_ever)
      lilac.call_soon(task.cancel, task)
      task:await()
    end)
    assert.equal(err, raises("CancelledError", task.result, task))
  end)

  it("may be left by break and return", function()
    local task
    while true do
      local tg <close> = lilac.TaskGroup()
      task = tg:create_task(lilac.sleep, 0.001, "x")
      if task then break end
    end
    assert.equal("x", task:result())
    assert.equal("y", (function()
      local tg <close> = lilac.TaskGroup()
      tg:create_task(lilac.sleep, 0)
      return "y"
    end)())
  end)

  it("may hold another: an error inside is the outer one's when it is not caught", function()
    local outer_child
    local ok, err = pcall(function()
      local outer <close> = lilac.TaskGroup()
      outer_child = outer:create_task(for_ever)
      settle()
      local inner <close> = lilac.TaskGroup()
      inner:create_task(fail, "inner")
    end)
    assert.same({ false, "inner" }, { ok, err })
    assert.is_true(outer_child:cancelled())
  end)

  it("may hold another: an error that is caught between leaves the outer one alone", function()
    local outer_child
    do
      local outer <close> = lilac.TaskGroup()
      outer_child = outer:create_task(lilac.sleep, 0.01, "on")
      assert.same({ false, "inner" }, { pcall(function()
        local inner <close> = lilac.TaskGroup()
        inner:create_task(fail, "inner")
        lilac.sleep(60)
      end) })
    end
    assert.equal("on", outer_child:result())
  end)

  it("may hold another: an outer error cancels the inner one's tasks", function()
    local inner_child
    assert.same({ false, "outer" }, { pcall(function()
      local outer <close> = lilac.TaskGroup()
      outer:create_task(fail, "outer")
      pcall(function()
        local inner <close> = lilac.TaskGroup()
        inner_child = inner:create_task(for_ever)
      end)
      error "not reached"
    end) })
    assert.is_true(inner_child:cancelled())
  end)

  it("is left by the outer error and the inner one when both fail", function()
    local err = raises("ExceptionGroup", function()
      local outer <close> = lilac.TaskGroup()
      outer:create_task(fail, "outer")
      local inner <close> = lilac.TaskGroup()
      inner:create_task(broken, "inner")
      lilac.sleep(60)
    end)
    assert.same({ "outer", "inner" }, err.errors)
    lilac.sleep(0) -- the outer group's cancellation, which the inner one put back, has gone with it
  end)

  it("keeps the cancellation by an outer timeout that comes with errors", function()
    local log = {}
    local err = raises("TimeoutError", function()
      local _ <close> = lilac.timeout(0.01)
      log[1] = select(2, pcall(function()
        local tg <close> = lilac.TaskGroup()
        tg:create_task(broken, "broken")
      end))
      lilac.sleep(60)
    end)
    assert.same({ "broken" }, log)
    assert.is_true(errors.is(err, "TimeoutError"))
  end)

  it("drops the cancellation by an outer timeout whose scope its error leaves", function()
    assert.same({ false, "broken" }, { pcall(function()
      local _ <close> = lilac.timeout(0.01)
      local tg <close> = lilac.TaskGroup()
      tg:create_task(broken, "broken")
    end) })
    lilac.sleep(0)
  end)

  it("says in its text how it stands", function()
    local group
    do
      local tg <close> = lilac.TaskGroup()
      group = tg
      assert.matches("^TaskGroup %(open%)", tostring(tg))
    end
    assert.matches("^TaskGroup %(closed%)", tostring(group))
  end)

  it("may be closed twice", function()
    local tg <close> = lilac.TaskGroup()
    getmetatable(tg).__close(tg)
  end)

  it("is refused in a callback", function()
    local ok, err
    lilac.call_soon(function() ok, err = pcall(lilac.TaskGroup) end)
    settle()
    assert.is_false(ok)
    assert.is_true(errors.is(err, "InvalidStateError"))
  end)
end)

describe("a TaskGroup and a cancellation from outside", function()
  it("cancels its tasks, waits for them, and lets the cancellation pass", function()
    for _, where in ipairs { "body", "close" } do
      local ended = 0
      local task = start(function()
        local tg <close> = lilac.TaskGroup()
        for _ = 1, 2 do
          tg:create_task(function()
            local _ <close> = on_close(function()
              lilac.sleep(0.001)
              ended = ended + 1
            end)
            lilac.sleep(60)
          end)
        end
        if where == "body" then lilac.sleep(60) end
      end)
      task:cancel "outside"
      local err = raises("CancelledError", task.await, task)
      assert.matches("outside$", err.message)
      assert.is_true(task:cancelled())
      assert.equal(2, ended)
    end
  end)

  it("cancels its tasks also when it comes while the group is entered", function()
    local child
    local task = start(function()
      local tg <close> = lilac.TaskGroup()
      child = tg:create_task(for_ever)
      lilac.current_task():cancel()
    end)
    assert.equal("cancelled", outcome(task))
    assert.is_true(child:cancelled())
  end)

  it("lets the cancellation pass though the tasks swallow theirs", function()
    local task = start(function()
      local tg <close> = lilac.TaskGroup()
      tg:create_task(lilac.pcall, lilac.sleep, 60)
    end)
    task:cancel()
    assert.equal("cancelled", outcome(task))
  end)

  it("is left by the errors that come with it, and the cancellation is raised next", function()
    for _, where in ipairs { "body", "close" } do
      local log = {}
      local task = start(function()
        local ok, err = pcall(function()
          local tg <close> = lilac.TaskGroup()
          tg:create_task(broken, "broken")
          settle()
          if where == "body" then lilac.sleep(60) end
        end)
        log[1], log[2] = ok, err
        lilac.sleep(0)
        log[3] = "never"
      end)
      settle()
      task:cancel()
      assert.equal("cancelled", outcome(task))
      assert.same({ false, "broken" }, log)
    end
  end)

  it("is a TimeoutError when a timeout around has cancelled it", function()
    local child
    raises("TimeoutError", function()
      local _ <close> = lilac.timeout(0.005)
      local tg <close> = lilac.TaskGroup()
      child = tg:create_task(for_ever)
    end)
    assert.is_true(child:cancelled())
  end)

  it("is that of a timeout in its body, which ends there", function()
    local child
    do
      local tg <close> = lilac.TaskGroup()
      child = tg:create_task(lilac.sleep, 0.005, "on")
      raises("TimeoutError", lilac.timeout, 0.001, lilac.sleep, 60)
    end
    assert.equal("on", child:result())
  end)

  it("is not lost when a task fails in the same tick, in any order", function()
    for _, order in ipairs { "fail cancel", "cancel fail" } do
      local gate, log = lilac.Event(), {}
      local task = start(function()
        log[1] = select(2, pcall(function()
          local tg <close> = lilac.TaskGroup()
          tg:create_task(function()
            lilac.pcall(gate.wait, gate)
            error("oops", 0)
          end)
          lilac.sleep(60)
        end))
        lilac.sleep(60)
      end)
      settle()
      if order == "fail cancel" then
        gate:set()
        task:cancel()
      else
        task:cancel()
        gate:set()
      end
      assert.equal("cancelled", outcome(task))
      assert.equal("oops", log[1])
    end
  end)

  it("is not lost when the last task ends in the same tick", function()
    local gate = lilac.Event()
    local task = start(function()
      do
        local tg <close> = lilac.TaskGroup()
        tg:create_task(gate.wait, gate)
      end
      lilac.sleep(60)
    end)
    gate:set()
    task:cancel()
    assert.equal("cancelled", outcome(task))
  end)
end)

describe("TaskGroup:create_task", function()
  it("is refused once the group is closed", function()
    local group
    do
      local tg <close> = lilac.TaskGroup()
      group = tg
    end
    assert.matches("closed", raises("InvalidStateError", group.create_task, group, print).message)
  end)

  it("is refused once a task has failed", function()
    local err
    pcall(function()
      local tg <close> = lilac.TaskGroup()
      local _ <close> = on_close(function()
        err = raises("InvalidStateError", tg.create_task, tg, print)
      end)
      tg:create_task(fail, "oops")
      lilac.sleep(60)
    end)
    assert.matches("shutting down", err.message)
  end)

  it("is the cancellation of a task that was cancelled with the group", function()
    local heads = 0
    local function hydra(tg)
      heads = heads + 1
      lilac.sleep(1e-6)
      tg:create_task(hydra, tg)
      tg:create_task(hydra, tg)
    end
    assert.same({ false, "Hercules" }, { pcall(lilac.TaskGroup, function(tg)
      tg:create_task(hydra, tg)
      tg:create_task(function()
        while heads < 10 do lilac.sleep(1e-6) end
        error("Hercules", 0)
      end)
    end) })
  end)

  it("may be called by another task", function()
    local task
    do
      local tg <close> = lilac.TaskGroup()
      start(function() task = tg:create_task(lilac.sleep, 0.001, "x") end)
    end
    assert.equal("x", task:result())
  end)

  it("refuses what is no function", function()
    local tg <close> = lilac.TaskGroup()
    assert.error_matches(function() tg:create_task(1) end, "bad argument #1 to 'create_task'")
    assert.error_matches(function() lilac.TaskGroup(1) end, "bad argument #1 to 'TaskGroup'")
  end)
end)

describe("TaskGroup:cancel", function()
  it("cancels the tasks and leaves the body alone, quietly", function()
    local task, reached
    do
      local tg <close> = lilac.TaskGroup()
      task = tg:create_task(for_ever)
      settle()
      tg:cancel()
      lilac.sleep(0)
      reached = true
    end
    assert.is_true(reached)
    assert.is_true(task:cancelled())
    assert.equal(0, lilac.current_task():cancelling())
  end)

  it("may be called by a task of the group, which it cancels too", function()
    local log = {}
    do
      local tg <close> = lilac.TaskGroup()
      tg:create_task(for_ever)
      tg:create_task(function()
        settle()
        tg:cancel()
        log[1] = "here"
        lilac.sleep(0)
        log[2] = "never"
      end)
    end
    assert.same({ "here" }, log)
  end)

  it("lets the group go on: new tasks may be created", function()
    local task
    do
      local tg <close> = lilac.TaskGroup()
      tg:cancel()
      task = tg:create_task(lilac.sleep, 0, "x")
    end
    assert.equal("x", task:result())
  end)

  it("lets errors of clean-up pass", function()
    assert.same({ false, "broken" }, { pcall(function()
      local tg <close> = lilac.TaskGroup()
      tg:create_task(broken, "broken")
      settle()
      tg:cancel()
    end) })
  end)

  it("tells the tasks where it was called", function()
    local task
    do
      local tg <close> = lilac.TaskGroup()
      task = tg:create_task(for_ever)
      settle()
      tg:cancel()
    end
    assert.matches("TaskGroup:cancel%(%) at .*group_spec.lua:%d+",
      raises("CancelledError", task.result, task).message)
  end)
end)

describe("TaskGroup with a function", function()
  it("returns all results of the function, after all tasks have ended", function()
    local ended = false
    assert.same({ 1, nil, 3, n = 3 }, table.pack(lilac.TaskGroup(function(tg)
      tg:create_task(function()
        settle()
        ended = true
      end)
      return 1, nil, 3
    end)))
    assert.is_true(ended)
  end)

  it("raises the error of a task or of the function, or an ExceptionGroup of both", function()
    assert.same({ false, "task" }, { pcall(lilac.TaskGroup, function(tg)
      tg:create_task(fail, "task")
      lilac.sleep(60)
    end) })
    assert.same({ false, "body" }, { pcall(lilac.TaskGroup, function(tg)
      tg:create_task(for_ever)
      error("body", 0)
    end) })
    local err = raises("ExceptionGroup", lilac.TaskGroup, function(tg)
      tg:create_task(broken, "task")
      settle()
      error("body", 0)
    end)
    assert.same({ "task", "body" }, err.errors)
  end)

  it("is interrupted by tg:cancel, quietly, and returns nothing then", function()
    local cleaned, task = false, nil
    local results = table.pack(lilac.TaskGroup(function(tg)
      task = tg:create_task(for_ever)
      local _ <close> = on_close(function()
        lilac.sleep(0)
        cleaned = true
      end)
      tg:create_task(function()
        settle()
        tg:cancel()
      end)
      pcall(lilac.sleep, 60)
      error "not reached"
    end))
    assert.equal(0, results.n)
    assert.is_true(cleaned)
    assert.is_true(task:cancelled())
    assert.equal(0, lilac.current_task():cancelling())
    lilac.sleep(0)
  end)

  it("keeps its results when tg:cancel comes as it waits for the tasks", function()
    assert.equal("result", lilac.TaskGroup(function(tg)
      tg:create_task(for_ever)
      tg:create_task(function()
        settle()
        tg:cancel()
      end)
      return "result"
    end))
  end)

  it("keeps its results when it never met the cancellation", function()
    assert.equal("result", lilac.TaskGroup(function(tg)
      tg:cancel()
      return "result"
    end))
    lilac.sleep(0)
  end)

  it("lets a cancellation from outside pass", function()
    local child
    local task = start(lilac.TaskGroup, function(tg)
      child = tg:create_task(for_ever)
      lilac.sleep(60)
    end)
    task:cancel()
    assert.equal("cancelled", outcome(task))
    assert.is_true(child:cancelled())
  end)

  it("lets it pass also when tg:cancel came in the same tick, in any order", function()
    for _, order in ipairs { "group task", "task group" } do
      local group
      local task = start(function()
        lilac.TaskGroup(function(tg)
          group = tg
          lilac.sleep(60)
        end)
        lilac.sleep(60)
      end)
      if order == "group task" then group:cancel() end
      task:cancel()
      if order == "task group" then group:cancel() end
      assert.equal("cancelled", outcome(task))
    end
  end)

  it("passes the outer group's cancellation through an inner group", function()
    local reached = {}
    lilac.TaskGroup(function(outer)
      lilac.TaskGroup(function(inner)
        inner:create_task(function()
          settle()
          outer:cancel()
        end)
        lilac.sleep(60)
      end)
      reached[1] = "never"
    end)
    assert.same({}, reached)
  end)

  it("fails also where many results of the function fill the stack to its end", function()
    for _, count in ipairs { 200, 600, 1800, 5400 } do -- each makes the stack grow to just that
      assert.same({ false, "mine" }, { pcall(lilac.TaskGroup, coroutine.wrap(function(tg)
        tg:create_task(fail, "mine")
        return table.unpack({}, 1, count)
      end)) })
    end
  end)
end)

describe("TaskGroup:start", function()
  it("waits until the function calls started, and returns what that is given", function()
    local log = {}
    do
      local tg <close> = lilac.TaskGroup()
      assert.same({ "port", nil, 3, n = 3 }, table.pack(tg:start(function(started, ...)
        lilac.sleep(0.001)
        log[1] = table.pack(...)
        started("port", nil, 3)
        settle()
        log[2] = "went on"
      end, "a", nil)))
      assert.is_nil(log[2])
    end
    assert.same({ { "a", nil, n = 2 }, "went on" }, log)
  end)

  it("raises the error of a function that fails before, as the group does", function()
    for _, fn in ipairs { fail, error } do
      assert.same({ false, "oops" }, { pcall(function()
        local tg <close> = lilac.TaskGroup()
        tg:start(function() fn("oops", 0) end)
      end) })
    end
  end)

  it("raises InvalidStateError when the function ends without calling it", function()
    local tg <close> = lilac.TaskGroup()
    local err = raises("InvalidStateError", tg.start, tg, function() end)
    assert.matches("without calling started", err.message)
  end)

  it("lets started be called once", function()
    local err
    do
      local tg <close> = lilac.TaskGroup()
      tg:start(function(started)
        started()
        err = raises("InvalidStateError", started)
      end)
    end
    assert.matches("called already", err.message)
  end)

  it("cancels the function when it is cancelled itself", function()
    local ended = false
    local task = start(function()
      local tg <close> = lilac.TaskGroup()
      tg:start(function()
        local _ <close> = on_close(function() ended = true end)
        lilac.sleep(60)
      end)
    end)
    task:cancel()
    assert.equal("cancelled", outcome(task))
    assert.is_true(ended)
  end)

  it("gives up at a timeout, and the group goes on", function()
    local task
    do
      local tg <close> = lilac.TaskGroup()
      raises("TimeoutError", lilac.timeout, 0.005, function() tg:start(for_ever) end)
      task = tg:create_task(lilac.sleep, 0.001, "on")
    end
    assert.equal("on", task:result())
  end)

  it("refuses what is no function", function()
    local tg <close> = lilac.TaskGroup()
    assert.error_matches(function() tg:start(1) end, "bad argument #1 to 'start'")
  end)
end)
