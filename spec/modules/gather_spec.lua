local lilac = require "lilac"
local on_close = require "spec.support.on_close"
local outcome = require "spec.support.outcome"
local raises = require "spec.support.raises"
local run = require "spec.support.child"
local settle = require "spec.support.settle"
local errors, start = lilac.errors, settle.start

local function value(result)
  return function()
    lilac.sleep(0)
    return result
  end
end

-- A function that fails when all others have begun.
local function failure(err)
  return function()
    settle()
    error(err, 0)
  end
end

describe("gather", function()
  it("returns results in the order of its arguments, not of their coming", function()
    local log, b_ended, c_ended = {}, lilac.Event(), lilac.Event()
    local function item(result, before, ended)
      return function()
        if before then before:wait() end
        log[#log + 1] = result
        if ended then ended:set() end
        return result
      end
    end
    assert.same({ "a", "b", "c", n = 3 }, table.pack(lilac.gather(
      item("a", b_ended), item("b", c_ended, b_ended), item("c", nil, c_ended))))
    assert.same({ "c", "b", "a" }, log)
  end)

  it("takes functions, tasks and futures", function()
    local future = lilac.Future()
    lilac.call_soon(future.set_result, future, 3)
    assert.same({ 1, 2, 3 }, { lilac.gather(value(1), lilac.create_task(value(2)), future) })
  end)

  it("runs functions at the same time, each in a task of its own", function()
    local barrier = lilac.Barrier(3)
    local function meet()
      barrier:wait()
      return lilac.current_task()
    end
    local a, b, c = lilac.gather(meet, meet, meet)
    assert.is_true(a ~= b and b ~= c and a ~= c)
    assert.is_true(a ~= lilac.current_task())
  end)

  it("runs the same function twice when it is given twice", function()
    local count = 0
    local function fn()
      count = count + 1
      return count
    end
    local a, b = lilac.gather(fn, fn)
    assert.equal(2, count)
    assert.equal(3, a + b)
  end)

  it("awaits the same task once, and gives its result at each place", function()
    local count = 0
    local task = lilac.create_task(function()
      count = count + 1
      return "x"
    end)
    assert.same({ "x", "y", "x" }, { lilac.gather(task, value "y", task) })
    assert.equal(1, count)
  end)

  it("keeps the first of several results, and nil for none", function()
    assert.same({ 1, nil, nil, 4, n = 4 }, table.pack(lilac.gather(
      function() return 1, 2, 3 end,
      function() end,
      function() return nil, 5 end,
      function() return 4 end)))
  end)

  it("takes what has ended already, at once", function()
    local task = start(value "x")
    local future = lilac.Future()
    future:set_result "y"
    assert.same({ "x", "y" }, { lilac.gather(task, future) })
  end)

  it("returns nothing for nothing", function()
    assert.equal(0, select("#", lilac.gather()))
  end)

  it("raises the first error at once, and lets the others go on", function()
    local gate = lilac.Event()
    local slow = lilac.create_task(gate.wait, gate)
    local ok, err = pcall(lilac.gather, slow, failure "oops")
    assert.same({ false, "oops" }, { ok, err })
    assert.is_false(slow:done())
    gate:set()
    assert.is_true(slow:await())
  end)

  it("raises the error that came first, not that of the first argument", function()
    local gate = lilac.Event()
    local task = lilac.create_task(function()
      gate:wait()
      error("late", 0)
    end)
    assert.same({ false, "early" }, { pcall(lilac.gather, task, failure "early") })
    gate:set()
    assert.same({ false, "late" }, { pcall(task.await, task) })
  end)

  it("raises the error of a task that has failed already", function()
    local failed = start(failure "oops")
    local slow = lilac.create_task(lilac.sleep, 0.001)
    assert.same({ false, "oops" }, { pcall(lilac.gather, slow, failed) })
    slow:await()
  end)

  it("lets error values through unchanged", function()
    local err = {}
    assert.equal(err, select(2, pcall(lilac.gather, failure(err))))
    assert.equal("<no error object>", select(2, pcall(lilac.gather, failure(nil))))
  end)

  it("raises a CancelledError that pcall catches when a child was cancelled", function()
    local task = start(lilac.sleep, 60)
    local caller = start(function() return pcall(lilac.gather, task, value(1)) end)
    task:cancel()
    local ok, err = caller:await()
    assert.is_false(ok)
    assert.is_true(errors.is(err, "CancelledError"))
  end)

  it("ends its caller as failed when a child was cancelled and nobody caught that", function()
    local task = start(lilac.sleep, 60)
    local caller = start(lilac.gather, task)
    task:cancel()
    assert.equal("failed", outcome(caller))
    raises("CancelledError", caller.exception and caller.result, caller)
  end)

  it("may be a task itself, which create_task makes of it", function()
    local task = lilac.create_task(lilac.gather, value "a", value "b")
    assert.is_false(task:done())
    assert.same({ "a", "b" }, { task:await() })
    local cancelled = start(lilac.gather, lilac.Future(), lilac.Future())
    cancelled:cancel()
    assert.equal("cancelled", outcome(cancelled))
  end)

  it("may be used in one another", function()
    assert.same({ 3, 3 }, { lilac.gather(
      function() local a, b = lilac.gather(value(1), value(2)) return a + b end,
      value(3)) })
  end)

  it("works with many", function()
    local list, sum, count = {}, 0, os.getenv "LILAC_STRESS" and 200 or 2000
    for i = 1, count do list[i] = value(i) end
    for _, result in ipairs(lilac.gather(list)) do sum = sum + result end
    assert.equal(count * (count + 1) // 2, sum)
    assert.equal(200, select("#", lilac.gather(table.unpack(list, 1, 200))))
  end)

  it("refuses what cannot be awaited, and starts nothing then", function()
    local ran = false
    local function fn() ran = true end
    assert.error_matches(function() lilac.gather(fn, 1) end,
      "bad argument #2 to 'gather' %(item 2: function, Task or Future expected, got number%)")
    assert.error_matches(function() lilac.gather { fn, "x" } end,
      "bad argument #1 to 'gather' %(item 2: function, Task or Future expected, got string%)")
    assert.error_matches(function() lilac.gather({}, { x = 1 }) end, "unknown option 'x'")
    assert.error_matches(function() lilac.gather({}, { return_exceptions = 1 }) end,
      "return_exceptions")
    settle()
    assert.is_false(ran)
  end)

  it("leaves those alone that stand before what it refuses", function()
    local gate = lilac.Event()
    local tasks = {}
    for i = 1, 3 do
      tasks[i] = lilac.create_task(function()
        gate:wait()
        if i == 2 then error("failed", 0) end
        return i
      end)
    end
    assert.error_matches(function() lilac.gather(tasks[1], tasks[2], {}) end, "item 3")
    assert.error_matches(function() lilac.gather { tasks[1], print, tasks[2], 7 } end, "item 4")
    assert.error_matches(function() lilac.gather { tasks[1], io.stdout } end, "item 2")
    gate:set()
    assert.same({ 1, "failed", 3, n = 3 }, lilac.gather(tasks, { return_exceptions = true }))
  end)

  it("takes functions among tasks", function()
    local gate = lilac.Event()
    local function waits() gate:wait() return "a task" end
    local first, last = lilac.create_task(waits), lilac.create_task(waits)
    lilac.call_soon(gate.set, gate)
    assert.same({ "a task", "a function", "a task", "a function", n = 4 },
      lilac.gather { first, value "a function", last, value "a function" })
    assert.same({ "a task", "a function", n = 2 }, lilac.gather { first, value "a function" })
  end)

  it("takes a list with a metatable, whose items may be made when they are read", function()
    local list = setmetatable({}, {
      __len = function() return 3 end,
      __index = function(_, i) return value(i * 10) end
    })
    assert.same({ 10, 20, 30, n = 3 }, lilac.gather(list))
    assert.error_matches(function()
      lilac.gather(setmetatable({}, { __len = function() return -1 end }))
    end, "a list expected")
  end)

  it("is refused in a callback, where nothing is started", function()
    local ran, ok, err = false, nil, nil
    lilac.call_soon(function() ok, err = pcall(lilac.gather, function() ran = true end) end)
    settle()
    assert.is_false(ok)
    assert.is_true(errors.is(err, "InvalidStateError"))
    assert.is_false(ran)
  end)
end)

describe("gather with a table", function()
  it("returns a table of results, with n", function()
    assert.same({ 1, nil, 3, nil, n = 4 },
      lilac.gather { value(1), value(nil), value(3), value(nil) })
    assert.same({ n = 0 }, lilac.gather {})
  end)

  it("puts errors in the place of results with return_exceptions", function()
    local cancelled = start(lilac.sleep, 60)
    cancelled:cancel()
    local results = lilac.gather({ value(1), failure "oops", cancelled, failure(nil), value(5) },
      { return_exceptions = true })
    assert.equal(5, results.n)
    assert.equal(1, results[1])
    assert.equal("oops", results[2])
    assert.is_true(errors.is(results[3], "CancelledError"))
    assert.equal("<no error object>", results[4])
    assert.equal(5, results[5])
  end)

  it("waits for all with return_exceptions", function()
    local results = lilac.gather({ failure "oops", function()
      lilac.sleep(0.005)
      return "late"
    end }, { return_exceptions = true })
    assert.same({ "oops", "late", n = 2 }, results)
  end)

  it("cancels the rest and waits for them with cancel_on_error", function()
    local ended = 0
    local function slow()
      local _ <close> = on_close(function()
        lilac.sleep(0.001)
        ended = ended + 1
      end)
      lilac.sleep(60)
    end
    local task = lilac.create_task(slow)
    assert.same({ false, "oops" },
      { pcall(lilac.gather, { slow, task, failure "oops", slow }, { cancel_on_error = true }) })
    assert.equal(3, ended)
    assert.is_true(task:cancelled())
  end)

  it("raises the first error with cancel_on_error, though clean-up of the others fails", function()
    local function broken()
      local _ <close> = on_close(function() error("broken", 0) end)
      lilac.sleep(60)
    end
    assert.same({ false, "oops" },
      { pcall(lilac.gather, { broken, failure "oops" }, { cancel_on_error = true }) })
  end)

  it("cancels the rest with cancel_on_error also when one has failed before", function()
    local failed, slow = start(failure "oops"), start(lilac.sleep, 60)
    assert.same({ false, "oops" },
      { pcall(lilac.gather, { slow, failed }, { cancel_on_error = true }) })
    assert.is_true(slow:cancelled())
  end)

  it("returns results with cancel_on_error when nothing fails", function()
    assert.same({ 1, 2, n = 2 }, lilac.gather({ value(1), value(2) }, { cancel_on_error = true }))
  end)
end)

describe("a cancelled gather", function()
  it("cancels all children and waits until every one has ended", function()
    local ended = 0
    local function slow()
      local _ <close> = on_close(function()
        lilac.sleep(0.002)
        ended = ended + 1
      end)
      lilac.sleep(60)
    end
    local task = lilac.create_task(slow)
    local caller = start(lilac.gather, slow, task, slow)
    caller:cancel "enough"
    assert.matches("enough$", raises("CancelledError", caller.await, caller).message)
    assert.equal(3, ended)
    assert.is_true(caller:cancelled())
    assert.is_true(task:cancelled())
  end)

  it("cancels plain futures", function()
    local a, b = lilac.Future(), lilac.Future()
    local caller = start(lilac.gather, a, b)
    caller:cancel()
    assert.equal("cancelled", outcome(caller))
    assert.is_true(a:cancelled() and b:cancelled())
  end)

  it("raises its own cancellation though the children return", function()
    local function stubborn()
      lilac.pcall(lilac.sleep, 60)
      return 1
    end
    local caller = start(lilac.gather, stubborn, stubborn)
    caller:cancel()
    assert.equal("cancelled", outcome(caller))
  end)

  it("has an error of the children's clean-up as its cause", function()
    local caller = start(lilac.gather, function() lilac.sleep(60) end, function()
      local _ <close> = on_close(function() error("broken", 0) end)
      lilac.sleep(60)
    end)
    caller:cancel()
    assert.equal("cancelled", outcome(caller))
    assert.equal("broken", raises("CancelledError", caller.result, caller).cause)
  end)

  it("raises it also with return_exceptions", function()
    local caller = start(lilac.gather, { function() lilac.sleep(60) end },
      { return_exceptions = true })
    caller:cancel()
    assert.equal("cancelled", outcome(caller))
  end)

  it("starts nothing when it was cancelled before", function()
    local ran = false
    local caller = start(function()
      lilac.current_task():cancel()
      lilac.gather(function() ran = true end)
    end)
    assert.equal("cancelled", outcome(caller))
    assert.is_false(ran)
  end)

  it("waits on when it is cancelled again", function()
    local gate = lilac.Event()
    local caller = start(lilac.gather, function()
      lilac.pcall(lilac.sleep, 60)
      lilac.pcall(gate.wait, gate)
      gate:wait()
    end)
    caller:cancel()
    settle()
    caller:cancel()
    settle()
    assert.is_false(caller:done())
    gate:set()
    assert.equal("cancelled", outcome(caller))
  end)

  it("is a timeout when a timeout has cancelled it", function()
    local task = start(lilac.sleep, 60)
    raises("TimeoutError", lilac.timeout, 0.001, lilac.gather, task, value(1))
    assert.is_true(task:cancelled())
  end)

  it("spares children that are shielded", function()
    local gate = lilac.Event()
    local task = start(gate.wait, gate)
    local caller = start(lilac.gather, function() return lilac.shield(task) end)
    caller:cancel()
    assert.equal("cancelled", outcome(caller))
    gate:set()
    assert.is_true(task:await())
  end)

  it("lets results through that came in the same tick, and is raised at the next await", function()
    local future, got = lilac.Future(), nil
    local caller = start(function()
      got = lilac.gather(future)
      lilac.sleep(60)
    end)
    future:set_result "result"
    caller:cancel()
    assert.equal("cancelled", outcome(caller))
    assert.equal("result", got)
  end)

  it("lets an error through that came in the same tick", function()
    local future, got = lilac.Future(), nil
    local caller = start(function()
      got = select(2, pcall(lilac.gather, future))
      lilac.sleep(60)
    end)
    future:set_exception "oops"
    caller:cancel()
    assert.equal("cancelled", outcome(caller))
    assert.equal("oops", got)
  end)
end)

describe("errors of the children of a gather", function()
  local script = [[
    local lilac = require "lilac"
    local function fail(seconds, err) return function() lilac.sleep(seconds) error(err, 0) end end
    pcall(lilac.gather, fail(0, "first"), fail(0.001, "second"), fail(0.002, "third"))
    lilac.sleep(0.01)
  ]]

  it("that came later are silent", function()
    local child = run(script)
    assert.equal("", child.stderr)
    assert.equal(0, child.status)
  end)

  it("that came later are reported under --debug", function()
    local child = run(script, { options = "--debug" })
    assert.matches("second", child.stderr)
    assert.matches("third", child.stderr)
    assert.not_matches("first", child.stderr)
  end)
end)

describe("a gather of very many that is cancelled", function()
  it("waits for their clean-up and raises its cancellation", function()
    local child = run [[
      local lilac = require "lilac"
      local cleaned, tasks, count = 0, {}, os.getenv "LILAC_STRESS" and 200 or 20000
      for i = 1, count do
        tasks[i] = lilac.create_task(function()
          local _ <close> = setmetatable({}, {__close = function()
            lilac.sleep(0)
            cleaned = cleaned + 1
          end})
          lilac.sleep(1000)
        end)
      end
      lilac.sleep(0) -- all have begun
      print(pcall(lilac.timeout, 0.01, lilac.gather, tasks))
      print(cleaned == count)
    ]]
    assert.equal(0, child.status, child.stderr)
    assert.matches("^false\tTimeoutError: .*\ntrue\n$", child.stdout)
  end)
end)

describe("a chain of gathers, each of which cancels the next one's future", function()
  it("ends to the last, however long it is", function()
    local child = run([[
      local lilac = require "lilac"
      local futures, tasks, begun = {}, {}, 0
      local count = os.getenv "LILAC_STRESS" and 200 or 5000
      for i = 1, count + 1 do futures[i] = lilac.Future() end
      for i = 1, count do
        tasks[i] = lilac.create_task(function()
          begun = begun + 1
          pcall(lilac.gather, { futures[i], futures[i + 1] }, { cancel_on_error = true })
        end)
      end
      while begun < count do lilac.sleep(0) end
      futures[1]:cancel()
      lilac.gather(tasks)
      print(futures[count + 1]:cancelled())
    ]], { env = "ulimit -s 256;" })
    assert.equal(0, child.status, child.stderr)
    assert.equal("true\n", child.stdout)
  end)
end)

describe("a gather that waits", function()
  it("holds no child that has ended, while it waits for others", function()
    local held, ends = setmetatable({}, { __mode = "k" }), 0
    local function child(result)
      return function()
        held[lilac.current_task()] = true
        ends = ends + 1
        return result
      end
    end
    local over = lilac.Event()
    local task = lilac.create_task(lilac.gather,
      { child "one", child(nil), function() over:wait() return "three" end })
    repeat lilac.sleep(0) until ends == 2
    for _ = 1, 10 do lilac.sleep(0) end
    collectgarbage()
    assert.is_nil(next(held))
    over:set()
    assert.same({ "one", nil, "three", n = 3 }, task:await())
  end)
end)
