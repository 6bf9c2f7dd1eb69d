local lilac = require "lilac"
local raises = require "spec.support.raises"
local settle = require "spec.support.settle"
local errors, start = lilac.errors, settle.start

-- A function that fails `failures` times with err and then returns its arguments, and a counter.
local function flaky(failures, err)
  local calls = { times = {} }
  return function(...)
    calls.times[#calls.times + 1] = lilac.time()
    if #calls.times <= failures then error(err or "flaky", 0) end
    return ...
  end, calls
end

-- Sees the pauses of retry in place of waiting for them.
local function pauses_of(options, failures)
  local sleep, pauses = lilac.sleep, {}
  lilac.sleep = function(seconds) pauses[#pauses + 1] = seconds end -- luacheck: ignore
  local _ <close> = setmetatable({}, { __close = function()
    lilac.sleep = sleep -- luacheck: ignore
  end })
  options.attempts = failures + 1
  lilac.retry(options)((flaky(failures)))()
  return pauses
end

describe("retry", function()
  it("passes arguments and returns all results of a try that succeeds", function()
    local fn, calls = flaky(0)
    assert.same({ 1, nil, 3, n = 3 }, table.pack(lilac.retry {} (fn)(1, nil, 3)))
    assert.equal(1, #calls.times)
  end)

  it("calls again after an error, with the same arguments", function()
    local fn, calls = flaky(2)
    assert.same({ 1, nil, 3, n = 3 },
      table.pack(lilac.retry { delay = 0 } (fn)(1, nil, 3)))
    assert.equal(3, #calls.times)
  end)

  it("raises the last error, unchanged, when the tries are used up", function()
    local count = 0
    local fn = lilac.retry { attempts = 4, delay = 0 } (function()
      count = count + 1
      error({ count }, 0)
    end)
    local ok, err = pcall(fn)
    assert.is_false(ok)
    assert.same({ 4 }, err)
  end)

  it("tries three times when nothing else is said", function()
    local fn, calls = flaky(9)
    assert.same({ false, "flaky" }, { pcall(lilac.retry { delay = 0 } (fn)) })
    assert.equal(3, #calls.times)
  end)

  it("waits longer each time", function()
    local fn, calls = flaky(3)
    lilac.retry { attempts = 4, delay = 0.002, backoff = 3, jitter = false } (fn)()
    local t = calls.times
    assert.is_true(t[2] - t[1] >= 0.002)
    assert.is_true(t[3] - t[2] >= 0.006)
    assert.is_true(t[4] - t[3] >= 0.018)
  end)

  it("waits delay times backoff to the power of the failures so far, at most max_delay", function()
    assert.same({ 1, 2, 4, 8, 16, 32, 60, 60 }, pauses_of({ jitter = false }, 8))
    assert.same({ 0.5, 1.5, 4, 4 },
      pauses_of({ delay = 0.5, backoff = 3, max_delay = 4, jitter = false }, 4))
    assert.same({ 2, 2, 2 }, pauses_of({ delay = 2, backoff = 1, jitter = false }, 3))
  end)

  it("goes on for as long as it is told, without a limit too", function()
    assert.equal(0, pauses_of({ delay = 0 }, 3000)[3000])
    assert.equal(60, pauses_of({ jitter = false }, 3000)[3000])
    local fn, calls = flaky(20)
    assert.equal("done", lilac.retry { attempts = math.huge, delay = 0 } (fn) "done")
    assert.equal(21, #calls.times)
  end)

  it("varies the pauses by half in both directions, unless jitter is off", function()
    local least, most = math.huge, 0
    for _ = 1, 200 do
      local seconds = pauses_of({ delay = 10, jitter = true }, 1)[1]
      assert.is_true(seconds >= 5 and seconds <= 15)
      least, most = math.min(least, seconds), math.max(most, seconds)
    end
    assert.is_true(most - least > 3)
  end)

  it("retries only the errors of the class, the classes or the predicate in `on`", function()
    local function tries(on, err)
      local fn, calls = flaky(9, err)
      pcall(lilac.retry { attempts = 3, delay = 0, on = on } (fn))
      return #calls.times
    end
    local refused = errors.new("ConnectionRefusedError", "refused")
    assert.equal(3, tries("ConnectionRefusedError", refused))
    assert.equal(3, tries("OSError", refused))
    assert.equal(1, tries("TimeoutError", refused))
    assert.equal(1, tries("OSError", "a string"))
    assert.equal(3, tries({ "QueueEmpty", "ConnectionError" }, refused))
    assert.equal(1, tries({ "QueueEmpty", "QueueFull" }, refused))
    assert.equal(1, tries({}, refused))
    assert.equal(3, tries(function(err) return err == refused end, refused))
    assert.equal(1, tries(function(err) return err == refused end, "other"))
  end)

  it("asks the predicate once for each error but the last", function()
    local asked = {}
    local count = 0
    local fn = lilac.retry { attempts = 3, delay = 0, on = function(err)
      asked[#asked + 1] = err
      return true
    end } (function()
      count = count + 1
      error(count, 0)
    end)
    assert.same({ false, 3 }, { pcall(fn) })
    assert.same({ 1, 2 }, asked)
  end)

  it("limits each try with timeout, which counts as a failure", function()
    local count = 0
    local fn = lilac.retry { attempts = 3, delay = 0, timeout = 0.002 } (function()
      count = count + 1
      if count < 3 then lilac.sleep(60) end
      return "result"
    end)
    assert.equal("result", fn())
    assert.equal(3, count)
    fn = lilac.retry { attempts = 2, delay = 0, timeout = 0.002 } (lilac.sleep)
    raises("TimeoutError", fn, 60)
  end)

  it("never retries a cancellation", function()
    local count = 0
    local task = start(lilac.retry { attempts = 5, delay = 0 } (function()
      count = count + 1
      lilac.sleep(60)
    end))
    task:cancel()
    settle()
    assert.is_true(task:cancelled())
    assert.equal(1, count)
  end)

  it("stops in a pause when it is cancelled", function()
    local fn, calls = flaky(9)
    local task = start(lilac.retry { delay = 60 } (fn))
    task:cancel()
    settle()
    assert.is_true(task:cancelled())
    assert.equal(1, #calls.times)
  end)

  it("never retries the timeout of a scope around it", function()
    local count = 0
    raises("TimeoutError", lilac.timeout, 0.005, lilac.retry { delay = 0 } (function()
      count = count + 1
      lilac.sleep(60)
    end))
    assert.equal(1, count)
  end)

  it("retries when another task was cancelled that it awaits", function()
    local count = 0
    local fn = lilac.retry { delay = 0 } (function()
      count = count + 1
      local task = lilac.create_task(function() return "result" end)
      if count == 1 then task:cancel() end
      return task:await()
    end)
    assert.equal("result", fn())
    assert.equal(2, count)
  end)

  it("never sleeps past a deadline around it: the error is raised at once", function()
    local fn, calls = flaky(9)
    local began = lilac.time()
    assert.same({ false, "flaky" },
      { pcall(lilac.timeout, 30, lilac.retry { delay = 60, jitter = false } (fn)) })
    assert.is_true(lilac.time() - began < 30)
    assert.equal(1, #calls.times)
  end)

  it("may be used by several tasks at once", function()
    local fn = lilac.retry { delay = 0 } (function(state)
      state.count = state.count + 1
      lilac.sleep(0)
      if state.count < 3 then error "flaky" end
      return state.count
    end)
    local list = {}
    for i = 1, 5 do list[i] = function() return fn { count = 0 } end end
    assert.same({ 3, 3, 3, 3, 3, n = 5 }, lilac.gather(list))
  end)

  it("takes a callable object, and passes it on as the first argument of its __call", function()
    local object = setmetatable({}, { __call = function(self, x) return self, x end })
    local a, b = lilac.retry {} (object)(7)
    assert.equal(object, a)
    assert.equal(7, b)
  end)

  it("refuses options that make no sense, by name", function()
    local function refused(options, message)
      assert.error_matches(function() lilac.retry(options) end, message)
    end
    refused("x", "bad argument #1 to 'retry' %(table expected, got string%)")
    refused({ tries = 3 }, "unknown option 'tries'; known: attempts, delay, ")
    refused({ attempts = "3" }, "option 'attempts': number expected, got string")
    refused({ attempts = 0 }, "option 'attempts': a whole number from 1 on expected, got 0")
    refused({ attempts = 1.5 }, "option 'attempts'")
    refused({ delay = -1 }, "option 'delay': not negative expected, got %-1")
    refused({ delay = 0 / 0 }, "option 'delay'")
    refused({ jitter = 1 }, "option 'jitter': boolean expected, got number")
    refused({ on = "NoSuchError" }, "option 'on': .*NoSuchError")
    assert.error_matches(function() lilac.retry({}, print) end,
      "bad argument #2 to 'retry' %(nothing expected: the function goes to the")
    refused({ on = 1 }, "option 'on'")
    assert.error_matches(function() lilac.retry {} (1) end, "function expected, got number")
  end)

  it("names the caller's line when it refuses", function()
    local _, message = pcall(function() lilac.retry { tries = 3 } end)
    assert.matches("retry_spec.lua:%d+:", message)
  end)
end)
