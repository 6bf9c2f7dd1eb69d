local lilac = require "lilac"
local hold = require "spec.support.hold"
local on_close = require "spec.support.on_close"
local outcome = require "spec.support.outcome"
local raises = require "spec.support.raises"
local settle = require "spec.support.settle"
local errors, start = lilac.errors, settle.start

-- Fills the ready queue, so that what is put into it next has its turn after a look at the clock.
local function crowd()
  for _ = 1, 64 do lilac.call_soon(function() end) end
end

describe("timeout as a scope", function()
  it("does nothing when it is left in time", function()
    do
      local t <close> = lilac.timeout(60)
      lilac.sleep(0)
      assert.is_false(t:expired())
    end
    lilac.sleep(0)
    assert.equal(0, lilac.current_task():cancelling())
  end)

  it("is left by a TimeoutError when it expires", function()
    local t
    local began = lilac.time()
    local err = raises("TimeoutError", function()
      local scope <close> = lilac.timeout(0.01)
      t = scope
      lilac.sleep(60)
    end)
    assert.is_true(lilac.time() - began >= 0.01)
    assert.is_true(t:expired())
    assert.is_true(errors.is(err, "OSError"))
    assert.equal(0, lilac.current_task():cancelling())
  end)

  it("names itself and its line in the error, which was the cancellation inside", function()
    local inside
    local err = raises("TimeoutError", function()
      local _ <close> = lilac.timeout(0.001)
      local _ <close> = on_close(function(err)
        inside = err
        assert.matches("^CancelledError: cancelled by timeout%(0.001%) at .*timeout_spec.lua:%d+$",
          tostring(err))
      end)
      lilac.sleep(60)
    end)
    assert.matches("^TimeoutError: timeout%(0.001%) at .*timeout_spec.lua:%d+ expired$",
      tostring(err))
    assert.equal(inside, err)
    assert.is_nil(err.cause)
  end)

  it("gives its error to the handler of an xpcall around it", function()
    local handled
    local ok, text = xpcall(lilac.timeout, function(err)
      handled = err
      return "handled"
    end, 0.001, lilac.sleep, 60)
    assert.is_false(ok)
    assert.equal("handled", text)
    assert.is_true(errors.is(handled, "TimeoutError"))
  end)

  it("cancels at the first await when it is of 0 or of negative length", function()
    for _, seconds in ipairs { 0, -1, -1 / 0 } do
      local log = {}
      raises("TimeoutError", function()
        local _ <close> = lilac.timeout(seconds)
        log[1] = "computes"
        lilac.sleep(60)
        log[2] = "never"
      end)
      assert.same({ "computes" }, log)
    end
  end)

  it("never expires when nothing awaits in it", function()
    do
      local _ <close> = lilac.timeout(0)
    end
    lilac.sleep(0)
  end)

  it("expires during sleep(0) if its time has passed", function()
    raises("TimeoutError", function()
      local _ <close> = lilac.timeout(0)
      for _ = 1, 1000 do lilac.sleep(0) end
      lilac.sleep(60)
    end)
  end)

  it("never expires when it is of nil or infinite length", function()
    for _, seconds in ipairs { 1 / 0, false } do
      local t <close> = lilac.timeout(seconds or nil)
      assert.is_nil(t:when())
      lilac.sleep(0.001)
      assert.is_false(t:expired())
    end
  end)

  it("lets an error of the body pass", function()
    local ok, err = pcall(function()
      local _ <close> = lilac.timeout(60)
      error("mine", 0)
    end)
    assert.same({ false, "mine" }, { ok, err })
  end)

  it("lets an error pass that clean-up raised after it expired", function()
    local ok, err = pcall(function()
      local _ <close> = lilac.timeout(0.001)
      local _ <close> = on_close(function() error("broken", 0) end)
      lilac.sleep(60)
    end)
    assert.same({ false, "broken" }, { ok, err })
  end)

  it("lets clean-up wait after it expired", function()
    local cleaned = false
    raises("TimeoutError", function()
      local _ <close> = lilac.timeout(0.001)
      local _ <close> = on_close(function()
        lilac.sleep(0.002)
        cleaned = true
      end)
      lilac.sleep(60)
    end)
    assert.is_true(cleaned)
  end)

  it("passes every pcall inside", function()
    local caught = false
    raises("TimeoutError", function()
      local _ <close> = lilac.timeout(0.001)
      pcall(xpcall, lilac.sleep, function() caught = true end, 60)
      caught = true
    end)
    assert.is_false(caught)
  end)

  it("is over when lilac.pcall has caught its cancellation", function()
    local ok, err
    local t
    do
      local scope <close> = lilac.timeout(0.001)
      t = scope
      ok, err = lilac.pcall(lilac.sleep, 60)
      lilac.sleep(0)
    end
    assert.is_false(ok)
    assert.is_true(errors.is(err, "CancelledError"))
    assert.is_true(t:expired())
  end)

  it("leaves other tasks alone", function()
    local other = start(lilac.sleep, 0.005)
    raises("TimeoutError", lilac.timeout, 0.001, lilac.sleep, 60)
    assert.is_false(other:cancelled())
    other:await()
  end)

  it("cancels a task that is awaited in it, and waits for its end", function()
    local ended = false
    local task = start(function()
      local _ <close> = on_close(function()
        lilac.sleep(0.001)
        ended = true
      end)
      lilac.sleep(60)
    end)
    raises("TimeoutError", lilac.timeout, 0.001, task.await, task)
    assert.is_true(ended)
    assert.is_true(task:cancelled())
  end)

  it("spares a task that is shielded", function()
    local gate = lilac.Event()
    local task = start(gate.wait, gate)
    raises("TimeoutError", lilac.timeout, 0.001, lilac.shield, task)
    gate:set()
    assert.is_true(task:await())
  end)

  it("can be entered in a task that was cancelled and went on", function()
    local task = start(function()
      lilac.pcall(lilac.sleep, 60)
      raises("TimeoutError", lilac.timeout, 0.001, lilac.sleep, 60)
      return lilac.current_task():cancelling()
    end)
    task:cancel()
    assert.equal(1, task:await())
  end)

  it("can be used in the clean-up of a task that is being cancelled", function()
    local cleaned
    local task = start(function()
      local _ <close> = on_close(function()
        cleaned = raises("TimeoutError", lilac.timeout, 0.001, lilac.sleep, 60)
      end)
      lilac.sleep(60)
    end)
    task:cancel()
    assert.equal("cancelled", outcome(task))
    assert.is_true(errors.is(cleaned, "TimeoutError"))
  end)

  it("is refused in a callback", function()
    local ok, err
    lilac.call_soon(function() ok, err = pcall(lilac.timeout, 1) end)
    settle()
    assert.is_false(ok)
    assert.is_true(errors.is(err, "InvalidStateError"))
    assert.matches("callback", err.message)
  end)

  it("refuses what is no number of seconds", function()
    assert.error_matches(function() lilac.timeout() end, "bad argument #1 to 'timeout'")
    assert.error_matches(function() lilac.timeout "soon" end, "number expected, got string")
    assert.error_matches(function() lilac.timeout(0 / 0) end, "bad argument #1 to 'timeout'")
    assert.error_matches(function() lilac.timeout(1, 2) end, "function expected, got number")
    assert.error_matches(function() lilac.timeout(1, { x = 1 }) end, "unknown option 'x'")
  end)

  it("says in its text how it stands", function()
    local t
    do
      local scope <close> = lilac.timeout(60)
      t = scope
      assert.matches("^Timeout %(active%)", tostring(t))
    end
    assert.matches("^Timeout %(finished%)", tostring(t))
    raises("TimeoutError", function()
      local scope <close> = lilac.timeout(0)
      t = scope
      lilac.sleep(60)
    end)
    assert.matches("^Timeout %(expired%)", tostring(t))
  end)

  it("may be closed twice", function()
    local t <close> = lilac.timeout(60)
    getmetatable(t).__close(t)
    lilac.sleep(0)
  end)
end)

describe("timeout_at", function()
  it("expires at a time of the loop", function()
    local when = lilac.time() + 0.005
    raises("TimeoutError", function()
      local t <close> = lilac.timeout_at(when)
      assert.is_true(math.abs(t:when() - when) < 1e-6)
      lilac.sleep(60)
    end)
    assert.is_true(lilac.time() >= when)
  end)

  it("expires at the first await for a time that has passed", function()
    raises("TimeoutError", function()
      local _ <close> = lilac.timeout_at(lilac.time() - 1)
      lilac.sleep(60)
    end)
  end)

  it("never expires at nil", function()
    local t <close> = lilac.timeout_at(nil)
    assert.is_nil(t:when())
  end)

  it("tells its time also when that has come, and when the scope was left", function()
    local expired, left
    local when = lilac.time()
    raises("TimeoutError", function()
      local scope <close> = lilac.timeout_at(when)
      expired = scope
      lilac.sleep(60)
    end)
    do
      local scope <close> = lilac.timeout_at(when + 60)
      left = scope
      scope:reschedule(when + 70)
    end
    assert.is_true(math.abs(expired:when() - when) < 1e-6)
    assert.is_true(math.abs(left:when() - (when + 70)) < 1e-6)
  end)

  it("has a function form", function()
    assert.equal(7, lilac.timeout_at(lilac.time() + 60, function() return 7 end))
    raises("TimeoutError", lilac.timeout_at, lilac.time(), lilac.sleep, 60)
  end)
end)

describe("timeouts in one another", function()
  it("are told apart: the inner one expires", function()
    local inner_error
    do
      local _ <close> = lilac.timeout(60)
      inner_error = raises("TimeoutError", lilac.timeout, 0.001, lilac.sleep, 60)
      lilac.sleep(0)
    end
    assert.matches("timeout%(0.001%)", inner_error.message)
  end)

  it("are told apart: the outer one expires", function()
    local inner
    local err = raises("TimeoutError", function()
      local _ <close> = lilac.timeout(0.001)
      pcall(function()
        local scope <close> = lilac.timeout(60)
        inner = scope
        lilac.sleep(60)
      end)
      error "the outer one passes this pcall"
    end)
    assert.matches("timeout%(0.001%)", err.message)
    assert.is_false(inner:expired())
  end)

  it("are left by the outer one when both expire in the same tick", function()
    local inner, outer
    local err = raises("TimeoutError", function()
      local a <close> = lilac.timeout(0.001)
      outer = a
      pcall(function()
        local b <close> = lilac.timeout(0.0011)
        inner = b
        lilac.create_task(hold, 0.005)
        lilac.sleep(60)
      end)
      error "not reached"
    end)
    assert.matches("timeout%(0.001%)", err.message)
    assert.is_true(inner:expired())
    assert.is_true(outer:expired())
  end)

  it("are left one by one when the outer one expires while the inner one unwinds", function()
    local inner_error
    local err = raises("TimeoutError", function()
      local outer <close> = lilac.timeout(60)
      inner_error = raises("TimeoutError", function()
        local _ <close> = lilac.timeout(0.001)
        local _ <close> = on_close(function() outer:reschedule(lilac.time()) end)
        lilac.sleep(60)
      end)
      lilac.sleep(60)
    end)
    assert.matches("timeout%(0.001%)", inner_error.message)
    assert.matches("timeout%(60%)", err.message)
  end)

  it("may expire in the clean-up of another", function()
    local cleanup_error
    local err = raises("TimeoutError", function()
      local _ <close> = lilac.timeout(0.001)
      local _ <close> = on_close(function()
        cleanup_error = raises("TimeoutError", lilac.timeout, 0.0015, lilac.sleep, 60)
      end)
      lilac.sleep(60)
    end)
    assert.matches("timeout%(0.001%)", err.message)
    assert.matches("timeout%(0.0015%)", cleanup_error.message)
  end)

  it("need not be closed in order", function()
    local a, b = lilac.timeout(60), lilac.timeout(60)
    local close = getmetatable(a).__close
    close(a)
    lilac.sleep(0)
    close(b)
    raises("TimeoutError", lilac.timeout, 0.001, lilac.sleep, 60)
  end)
end)

describe("a timeout and somebody else's cancellation", function()
  it("of length 0 lets the cancellation pass that was there before", function()
    local task = start(function()
      lilac.current_task():cancel()
      lilac.timeout(0, lilac.sleep, 60)
    end)
    assert.equal("cancelled", outcome(task))
  end)

  it("is no TimeoutError when it had not expired", function()
    local task = start(lilac.timeout, 60, lilac.sleep, 60)
    task:cancel()
    assert.equal("cancelled", outcome(task))
  end)

  it("gives way to it when both come in the same tick, in any order", function()
    for _, first in ipairs { "timeout", "cancel" } do
      local task
      task = lilac.create_task(function()
        local t <close> = lilac.timeout(0.001)
        local expiry = t:when()
        lilac.create_task(function()
          if first == "timeout" then
            lilac.create_task(hold, expiry + 0.005 - lilac.time())
            lilac.sleep_until(expiry - 1e-6) -- both are over in one look at the clock
          end
          task:cancel()
          hold(expiry + 0.005 - lilac.time())
        end)
        lilac.sleep(60)
      end)
      lilac.sleep(0.01)
      if outcome(task) == "failed" then -- it went on between the two
        assert.is_string(os.getenv "LILAC_SHUFFLE")
        raises("TimeoutError", task.result, task)
      end
    end
  end)

  it("lets a cancellation pass that comes while it unwinds", function()
    local task
    task = start(function()
      local _ <close> = lilac.timeout(0.001)
      local _ <close> = on_close(function() lilac.sleep(60) end)
      lilac.sleep(60)
    end)
    lilac.sleep(0.01)
    assert.is_false(task:done())
    task:cancel()
    assert.equal("cancelled", outcome(task))
  end)

  it("raises a cancellation at the next await that came while it unwound without one", function()
    local log = {}
    local task = start(function()
      local err = raises("TimeoutError", function()
        local _ <close> = lilac.timeout(0.001)
        local _ <close> = on_close(function() lilac.current_task():cancel() end)
        lilac.sleep(60)
      end)
      log[1] = err.name
      lilac.sleep(0)
      log[2] = "never"
    end)
    lilac.sleep(0.01)
    assert.equal("cancelled", outcome(task))
    assert.same({ "TimeoutError" }, log)
  end)

  it("leaves no trace: the body's last await counts, and what it brought", function()
    local future = lilac.Future()
    local task = lilac.create_task(function()
      local result = lilac.timeout(0.02, function()
        return lilac.shield(future)
      end)
      lilac.sleep(0.001)
      return result
    end)
    lilac.call_soon(function()
      hold(0.025)
      crowd()
      future:set_result "result"
    end)
    assert.equal("result", task:await())
  end)
end)

describe("Timeout:reschedule", function()
  it("puts off the end", function()
    do
      local t <close> = lilac.timeout(0.001)
      t:reschedule(lilac.time() + 60)
      lilac.sleep(0.005)
      assert.is_false(t:expired())
    end
  end)

  it("brings the end near", function()
    raises("TimeoutError", function()
      local t <close> = lilac.timeout(60)
      t:reschedule(lilac.time() + 0.001)
      lilac.sleep(60)
    end)
  end)

  it("takes a time that has passed: it expires at the next await", function()
    raises("TimeoutError", function()
      local t <close> = lilac.timeout(60)
      t:reschedule(lilac.time() - 1)
      lilac.sleep(60)
    end)
  end)

  it("takes nil for never, and back", function()
    raises("TimeoutError", function()
      local t <close> = lilac.timeout(0.001)
      t:reschedule(nil)
      assert.is_nil(t:when())
      lilac.sleep(0.003)
      t:reschedule(lilac.time())
      assert.is_number(t:when())
      lilac.sleep(60)
    end)
  end)

  it("may be called by another task", function()
    local t
    local task = start(function()
      local scope <close> = lilac.timeout(60)
      t = scope
      lilac.sleep(60)
    end)
    t:reschedule(lilac.time())
    assert.equal("failed", outcome(task))
    assert.is_true(errors.is(task:exception(), "TimeoutError"))
  end)

  it("is refused once the timeout has expired or was left", function()
    local t
    raises("TimeoutError", function()
      local scope <close> = lilac.timeout(0)
      t = scope
      local _ <close> = on_close(function()
        assert.matches("expired", raises("InvalidStateError", t.reschedule, t, nil).message)
      end)
      lilac.sleep(60)
    end)
    raises("InvalidStateError", t.reschedule, t, 1)
    do
      local scope <close> = lilac.timeout(60)
      t = scope
    end
    assert.matches("finished", raises("InvalidStateError", t.reschedule, t, 1).message)
  end)

  it("wants its argument to be said", function()
    local t <close> = lilac.timeout(60)
    assert.error_matches(function() t:reschedule() end, "bad argument #1 to 'reschedule'")
    assert.error_matches(function() t:reschedule "x" end, "bad argument #1 to 'reschedule'")
  end)
end)

describe("timeout with a function", function()
  it("passes arguments and returns all results", function()
    local results = table.pack(lilac.timeout(60, function(...)
      lilac.sleep(0)
      return ...
    end, 1, nil, 3, nil))
    assert.same({ 1, nil, 3, nil, n = 4 }, results)
    assert.equal(0, select("#", lilac.timeout(60, function() end)))
  end)

  it("raises TimeoutError when it expires", function()
    raises("TimeoutError", lilac.timeout, 0.001, lilac.sleep, 60)
  end)

  it("lets the function's error pass", function()
    assert.same({ false, "mine" }, { pcall(lilac.timeout, 60, error, "mine", 0) })
  end)

  it("runs the function in the calling task", function()
    assert.equal(lilac.current_task(), lilac.timeout(60, lilac.current_task))
  end)

  it("takes options before the function", function()
    assert.equal(7, lilac.timeout(60, { interrupt = true }, function() return 7 end))
  end)

  it("takes a callable object", function()
    assert.equal(7, lilac.timeout(60, setmetatable({}, { __call = function() return 7 end })))
  end)
end)

describe("move_on_after", function()
  it("returns true and the results of a function that ends in time", function()
    assert.same({ true, 1, nil, 3, n = 4 },
      table.pack(lilac.move_on_after(60, function(...) return ... end, 1, nil, 3)))
  end)

  it("returns false when the time is over", function()
    local cleaned = false
    assert.same({ false, n = 1 }, table.pack(lilac.move_on_after(0.001, function()
      local _ <close> = on_close(function()
        lilac.sleep(0.001)
        cleaned = true
      end)
      lilac.sleep(60)
    end)))
    assert.is_true(cleaned)
  end)

  it("lets errors and other cancellations pass", function()
    assert.same({ false, "mine" }, { pcall(lilac.move_on_after, 60, error, "mine", 0) })
    local task = start(lilac.move_on_after, 60, lilac.sleep, 60)
    task:cancel()
    assert.equal("cancelled", outcome(task))
    raises("TimeoutError", lilac.timeout, 0.001, lilac.move_on_after, 60, lilac.sleep, 60)
  end)

  it("returns false for a function that computed too long and then awaited", function()
    local finished = lilac.move_on_after(0.001, function()
      hold(0.002)
      lilac.sleep(60)
    end)
    assert.is_false(finished)
  end)

  it("gives the results of a function that ended though the time was over", function()
    local finished, result = lilac.move_on_after(0.001, function()
      hold(0.002)
      return "result"
    end)
    assert.is_true(finished)
    assert.equal("result", result)
    lilac.sleep(0)
  end)

  it("has no limit with nil", function()
    assert.is_true(lilac.move_on_after(nil, lilac.sleep, 0.001))
  end)

  it("refuses wrong arguments", function()
    assert.error_matches(function() lilac.move_on_after() end, "bad argument #1")
    assert.error_matches(function() lilac.move_on_after(1) end, "bad argument #2")
    assert.error_matches(function() lilac.move_on_after("x", error) end, "bad argument #1")
  end)
end)

describe("an error in the place of a cancellation that was caught and is gone", function()
  -- Raises an error at the address of the scope's cancellation, if one comes there.
  local function raise_in_its_place()
    local address = ("%p"):format(select(2, lilac.pcall(lilac.sleep, 60)))
    lilac.sleep(0)
    collectgarbage()
    local queue, errs = lilac.Queue(), {}
    for i = 1, 200 do
      errs[i] = select(2, pcall(queue.get_nowait, queue))
      if ("%p"):format(errs[i]) == address then error(errs[i], 0) end
    end
    error(errs[1], 0)
  end

  it("is not taken for it", function()
    for _ = 1, 10 do
      raises("QueueEmpty", lilac.move_on_after, 0.0001, raise_in_its_place)
      raises("QueueEmpty", lilac.timeout, 0.0001, raise_in_its_place)
    end
  end)
end)

describe("timeout with interrupt", function()
  local function interrupted(fn)
    local began = lilac.time()
    raises("TimeoutError", lilac.timeout, 0.01, { interrupt = true }, fn)
    assert.is_true(lilac.time() - began >= 0.01)
  end

  it("stops code that computes without awaiting", function()
    interrupted(function() while true do end end)
  end)

  it("stops it inside pcall and xpcall, whose handler does not see it", function()
    local handled = false
    interrupted(function()
      while true do
        pcall(xpcall, function() while true do end end, function() handled = true end)
      end
    end)
    assert.is_false(handled)
  end)

  it("stops it inside a coroutine", function()
    interrupted(function()
      coroutine.wrap(function()
        coroutine.wrap(function() while true do end end)()
      end)()
    end)
  end)

  it("stops it inside the callback of a C function", function()
    interrupted(function()
      table.sort({ 3, 2, 1 }, function() while true do end end)
    end)
    interrupted(function()
      string.gsub("x", "x", function() while true do end end)
    end)
  end)

  it("runs clean-up, which may await", function()
    local cleaned = false
    interrupted(function()
      local _ <close> = on_close(function()
        lilac.sleep(0.001)
        cleaned = true
      end)
      while true do end
    end)
    assert.is_true(cleaned)
  end)

  it("stops the outer scope's body though the inner one has no interrupt", function()
    interrupted(function()
      local _ <close> = lilac.timeout(0.001)
      while true do end
    end)
  end)

  it("interrupts a scope", function()
    raises("TimeoutError", function()
      local _ <close> = lilac.timeout(0.01, { interrupt = true })
      while true do end
    end)
  end)

  it("costs nothing afterwards: no hook is left", function()
    interrupted(function() while true do end end)
    lilac.sleep(0.02)
    assert.is_nil((debug.gethook()))
  end)

  it("works again and again", function()
    for _ = 1, 3 do interrupted(function() while true do end end) end
  end)

  it("expires as usual where the body awaits", function()
    interrupted(function() lilac.sleep(60) end)
  end)
end)

describe("wait_for", function()
  it("returns all results of a function, a task and a future that end in time", function()
    local function three() lilac.sleep(0) return 1, nil, 3 end
    assert.same({ 1, nil, 3, n = 3 }, table.pack(lilac.wait_for(three, 60)))
    assert.same({ 1, nil, 3, n = 3 },
      table.pack(lilac.wait_for(lilac.create_task(three), 60)))
    local future = lilac.Future()
    lilac.call_soon(future.set_result, future, 1, nil, 3)
    assert.same({ 1, nil, 3, n = 3 }, table.pack(lilac.wait_for(future, 60)))
  end)

  it("runs a function in the calling task", function()
    assert.equal(lilac.current_task(), lilac.wait_for(lilac.current_task, 60))
  end)

  it("raises the error of what it awaits", function()
    local function fail() lilac.sleep(0) error("mine", 0) end
    assert.same({ false, "mine" }, { pcall(lilac.wait_for, fail, 60) })
    assert.same({ false, "mine" }, { pcall(lilac.wait_for, lilac.create_task(fail), 60) })
  end)

  it("takes what has ended already, also with a limit of 0", function()
    local task = start(function() return "result" end)
    assert.equal("result", lilac.wait_for(task, 0))
    assert.equal("result", lilac.wait_for(task, -1))
  end)

  it("has no limit with nil", function()
    assert.equal("result", lilac.wait_for(lilac.create_task(lilac.sleep, 0.001, "result"), nil))
    assert.equal("result", lilac.wait_for(lilac.create_task(lilac.sleep, 0.001, "result")))
    assert.equal(7, lilac.wait_for(function() lilac.sleep(0.001) return 7 end, nil))
  end)

  it("cancels what takes too long and raises TimeoutError after its end", function()
    for _, as_task in ipairs { true, false } do
      local ended = false
      local function slow()
        local _ <close> = on_close(function()
          lilac.sleep(0.002)
          ended = true
        end)
        lilac.sleep(60)
      end
      local aw = as_task and lilac.create_task(slow) or slow
      local err = raises("TimeoutError", function() lilac.wait_for(aw, 0.001) end)
      assert.matches("wait_for%(0.001%) at .*timeout_spec.lua:%d+ expired", err.message)
      assert.is_true(ended)
      if as_task then assert.is_true(aw:cancelled()) end
    end
    assert.equal(0, lilac.current_task():cancelling())
  end)

  it("cancels a future that takes too long", function()
    local future = lilac.Future()
    raises("TimeoutError", lilac.wait_for, future, 0.001)
    assert.is_true(future:cancelled())
  end)

  it("ends a task with a limit of 0, or less, whether it has started or not", function()
    for _, seconds in ipairs { 0, -1 } do
      for _, make in ipairs { start, lilac.create_task } do
        local task = make(lilac.sleep, 60)
        raises("TimeoutError", lilac.wait_for, task, seconds)
        assert.is_true(task:cancelled())
      end
    end
  end)

  it("starts a function with a limit of 0, and cancels it at the first await that waits", function()
    local log = {}
    raises("TimeoutError", lilac.wait_for, function()
      log[#log + 1] = "started"
      lilac.sleep(60)
      log[#log + 1] = "went on"
    end, 0)
    assert.same({ "started" }, log)
  end)

  it("returns the results of what swallowed the cancellation and returned", function()
    local function stubborn()
      lilac.pcall(lilac.sleep, 60)
      return "late", "results"
    end
    assert.same({ "late", "results" }, { lilac.wait_for(stubborn, 0.001) })
    assert.same({ "late", "results" }, { lilac.wait_for(lilac.create_task(stubborn), 0.001) })
    lilac.sleep(0)
  end)

  it("raises the error of clean-up that fails after the timeout", function()
    local function broken()
      local _ <close> = on_close(function() error("broken", 0) end)
      lilac.sleep(60)
    end
    assert.same({ false, "broken" }, { pcall(lilac.wait_for, broken, 0.001) })
    assert.same({ false, "broken" }, { pcall(lilac.wait_for, lilac.create_task(broken), 0.001) })
    lilac.sleep(0)
  end)

  it("cancels what it awaits when the caller is cancelled, and waits for its end", function()
    for _, as_task in ipairs { true, false } do
      local ended = false
      local function slow()
        local _ <close> = on_close(function()
          lilac.sleep(0.001)
          ended = true
        end)
        lilac.sleep(60)
      end
      local caller = start(lilac.wait_for, as_task and lilac.create_task(slow) or slow, 60)
      caller:cancel()
      raises("CancelledError", caller.await, caller)
      assert.is_true(ended)
      assert.is_true(caller:cancelled())
    end
  end)

  it("never loses the caller's cancellation to a result", function()
    local task = start(function()
      lilac.pcall(lilac.sleep, 60)
      return "result"
    end)
    local caller = start(lilac.wait_for, task, 60)
    caller:cancel()
    assert.equal("cancelled", outcome(caller))
    assert.equal("result", task:result())
  end)

  it("has the error of what it awaited as the cause of the caller's cancellation", function()
    local task = start(function()
      local _ <close> = on_close(function() error("broken", 0) end)
      lilac.sleep(60)
    end)
    local caller = start(lilac.wait_for, task, 60)
    caller:cancel()
    assert.equal("cancelled", outcome(caller))
    assert.equal("broken", raises("CancelledError", caller.result, caller).cause)
  end)

  it("is no timeout when what it awaits cancels itself", function()
    local task = lilac.create_task(function()
      lilac.current_task():cancel()
      lilac.sleep(0)
    end)
    raises("CancelledError", lilac.wait_for, task, 60)
    raises("CancelledError", lilac.wait_for, task, 0)
  end)

  it("never loses a result that came in the tick of the timeout", function()
    local future = lilac.Future()
    local caller = lilac.create_task(lilac.wait_for, future, 0.02)
    lilac.call_soon(function()
      hold(0.025)
      crowd()
      future:set_result "result"
    end)
    assert.equal("result", caller:await())
  end)

  it("returns the result, then raises the cancellation that came with it", function()
    local future, got = lilac.Future(), nil
    local caller = start(function()
      got = lilac.wait_for(future, 60)
      lilac.sleep(60)
    end)
    future:set_result "result"
    caller:cancel()
    assert.equal("cancelled", outcome(caller))
    assert.equal("result", got)
  end)

  it("raises the caller's cancellation when it came first", function()
    local gate = lilac.Event()
    local task = start(function()
      lilac.pcall(gate.wait, gate)
      return "result"
    end)
    local caller = start(lilac.wait_for, task, 60)
    caller:cancel()
    gate:set()
    assert.equal("cancelled", outcome(caller))
  end)

  it("raises the caller's cancellation when that comes after the timeout", function()
    local gate = lilac.Event()
    local task = start(function()
      lilac.pcall(lilac.sleep, 60)
      lilac.pcall(gate.wait, gate)
      return "result"
    end)
    local caller = start(lilac.wait_for, task, 0.001)
    lilac.sleep(0.005)
    caller:cancel()
    gate:set()
    assert.equal("cancelled", outcome(caller))
    assert.equal("result", task:result())
  end)

  it("may be shielded: then only the waiting ends", function()
    local gate = lilac.Event()
    local task = start(gate.wait, gate)
    raises("TimeoutError", lilac.wait_for, function() return lilac.shield(task) end, 0.001)
    gate:set()
    assert.is_true(task:await())
  end)

  it("refuses what cannot be awaited", function()
    assert.error_matches(function() lilac.wait_for(1, 1) end,
      "bad argument #1 to 'wait_for' %(function, Task or Future expected, got number%)")
    assert.error_matches(function() lilac.wait_for(print, "x") end, "bad argument #2 to 'wait_for'")
  end)
end)

describe("current_deadline", function()
  it("is the earliest of the timeouts around, or nil", function()
    assert.is_nil(lilac.current_deadline())
    local a <close> = lilac.timeout(60)
    assert.equal(a:when(), lilac.current_deadline())
    do
      local b <close> = lilac.timeout(30)
      assert.equal(b:when(), lilac.current_deadline())
      local c <close> = lilac.timeout(90)
      assert.is_true(c:when() > lilac.current_deadline())
    end
    assert.equal(a:when(), lilac.current_deadline())
  end)

  it("is of the running task alone", function()
    local _ <close> = lilac.timeout(60)
    assert.is_nil(lilac.create_task(lilac.current_deadline):await())
  end)
end)
