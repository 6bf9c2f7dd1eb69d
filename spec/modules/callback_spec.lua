local lilac = require "lilac"
local run = require "spec.support.child"
local settle = require "spec.support.settle"
local errors = lilac.errors

local SHUFFLED = os.getenv "LILAC_SHUFFLE"

describe("call_soon", function()
  it("calls the function at the next turn, with its arguments, nil ones too", function()
    local got
    lilac.call_soon(function(...) got = table.pack(...) end, nil, 2, nil)
    assert.is_nil(got)
    lilac.sleep(0)
    settle()
    assert.same({ nil, 2, nil, n = 3 }, got)
  end)

  it("calls functions in the order of their coming, among the tasks", function()
    local log = {}
    local function note(what) log[#log + 1] = what end
    lilac.call_soon(note, 1)
    lilac.create_task(note, 2)
    lilac.call_soon(note, 3)
    settle()
    assert.equal(3, #log)
    if not SHUFFLED then assert.same({ 1, 2, 3 }, log) end
  end)

  it("calls outside of any task", function()
    local task = "unset"
    lilac.call_soon(function() task = lilac.current_task() end)
    settle()
    assert.is_nil(task)
  end)

  it("may be used in a callback: that one is called in a later turn", function()
    local log = {}
    lilac.call_soon(function()
      lilac.call_soon(function() log[#log + 1] = "second" end)
      log[#log + 1] = "first"
    end)
    settle()
    assert.same({ "first", "second" }, log)
  end)

  it("takes a callable object", function()
    local called = false
    lilac.call_soon(setmetatable({}, { __call = function() called = true end }))
    settle()
    assert.is_true(called)
  end)

  it("refuses what is no function", function()
    assert.error_matches(function() lilac.call_soon(1) end, "bad argument #1 to 'call_soon'")
    assert.error_matches(function() lilac.call_later(1) end, "bad argument #2 to 'call_later'")
    assert.error_matches(function() lilac.call_later("x", print) end, "number expected")
    assert.error_matches(function() lilac.call_at(nil, print) end, "number expected")
  end)
end)

describe("call_later and call_at", function()
  it("call after so many seconds, or at a time", function()
    local began, future = lilac.time(), lilac.Future()
    lilac.call_later(0.005, function() future:set_result(lilac.time()) end)
    assert.is_true(future:await() >= began + 0.005)
    future = lilac.Future()
    lilac.call_at(began + 0.008, future.set_result, future, "x")
    assert.equal("x", future:await())
    assert.is_true(lilac.time() >= began + 0.008)
  end)

  it("call in the order of their times", function()
    local log, now = {}, lilac.time()
    for i, seconds in ipairs { 0.008, 0.001, 0.004 } do
      lilac.call_at(now + seconds, function() log[#log + 1] = i end)
    end
    while #log < 3 do lilac.sleep(0.001) end
    assert.equal(3, #log)
    if not SHUFFLED then assert.same({ 2, 3, 1 }, log) end
  end)

  it("call soon, but not at once, for a time that has passed", function()
    local called = 0
    local function count() called = called + 1 end
    lilac.call_later(0, count)
    lilac.call_later(-1, count)
    lilac.call_at(0, count)
    assert.equal(0, called)
    settle()
    assert.equal(3, called)
  end)

  it("never call for an infinite time", function()
    local handle = lilac.call_later(math.huge, error, "called")
    settle()
    assert.is_true(handle:cancel())
  end)
end)

describe("the handle of a callback", function()
  it("takes the call back, once", function()
    for _, schedule in ipairs {
      function(fn) return lilac.call_soon(fn) end,
      function(fn) return lilac.call_later(0, fn) end,
      function(fn) return lilac.call_later(0.001, fn) end,
      function(fn) return lilac.call_at(lilac.time(), fn) end,
    } do
      local called = false
      local handle = schedule(function() called = true end)
      assert.is_false(handle:cancelled())
      assert.is_true(handle:cancel())
      assert.is_true(handle:cancelled())
      assert.is_false(handle:cancel())
      settle()
      assert.is_false(called)
    end
  end)

  it("cannot take back what was called", function()
    local handle = lilac.call_soon(function() end)
    settle()
    assert.is_false(handle:cancel())
    assert.is_false(handle:cancelled())
    assert.matches("^Handle %(done%)", tostring(handle))
  end)

  it("may be used by the callback itself", function()
    local handle, result
    handle = lilac.call_soon(function() result = handle:cancel() end)
    settle()
    assert.is_false(result)
  end)

  it("takes back another one that is due in the same turn", function()
    local log = {}
    local a, b
    a = lilac.call_soon(function()
      log[#log + 1] = "a"
      b:cancel()
    end)
    b = lilac.call_soon(function()
      log[#log + 1] = "b"
      a:cancel()
    end)
    settle()
    assert.equal(1, #log)
  end)

  it("knows its time", function()
    local when = lilac.time() + 60
    local handle = lilac.call_at(when, print)
    assert.is_true(math.abs(handle:when() - when) < 1e-6)
    handle:cancel()
    handle = lilac.call_soon(function() end)
    assert.is_nil(handle:when())
    settle()
  end)

  it("is not needed: what was scheduled stays so", function()
    local called = false
    lilac.call_later(0.001, function() called = true end)
    collectgarbage()
    settle()
    assert.is_true(called)
  end)

  it("takes the call back when its scope is left", function()
    do local _ <close> = lilac.call_soon(error, "called") end
    settle()
  end)

  it("says how it stands", function()
    local handle = lilac.call_later(60, print)
    assert.matches("^Handle %(pending%)", tostring(handle))
    handle:cancel()
    assert.matches("^Handle %(cancelled%)", tostring(handle))
  end)
end)

describe("a callback", function()
  it("must not await, and is told so", function()
    local errs = {}
    lilac.call_soon(function()
      errs[1] = select(2, pcall(function() lilac.sleep(0) end))
      errs[2] = select(2, pcall(function() lilac.gather(function() end) end))
      errs[3] = select(2, pcall(function() lilac.Event():wait() end))
    end)
    settle()
    for i, name in ipairs { "sleep", "gather", "wait" } do
      assert.is_true(errors.is(errs[i], "InvalidStateError"))
      assert.equal(name .. ": cannot await in a callback; let it start a task with create_task",
        errs[i].message)
    end
  end)

  it("that fails is reported, and makes the exit status 1; the others are called", function()
    local child = run [[
      local lilac = require "lilac"
      local function broken() error "oops" end
      lilac.call_soon(broken)
      lilac.call_soon(print, "the next one")
      lilac.sleep(0.001)
      print "the main task"
    ]]
    assert.equal("the next one\nthe main task\n", child.stdout)
    assert.matches("^lilac: a callback failed: script.lua:2: oops\nstack traceback:", child.stderr)
    assert.matches("script.lua:2: in function <script.lua:2>", child.stderr)
    assert.equal(1, child.status)
  end)

  it("that fails after the end of a task is reported like others", function()
    local child = run [[
      local lilac = require "lilac"
      local task = lilac.create_task(function() end)
      task:add_done_callback(function() error "oops" end)
      lilac.sleep(0.001)
    ]]
    assert.matches("a callback failed: script.lua:3: oops", child.stderr)
    assert.equal(1, child.status)
  end)

  it("that fails goes to the exception handler, if there is one", function()
    local child = run [[
      local lilac = require "lilac"
      lilac.set_exception_handler(function(context)
        print(context.message, context.exception, context.task)
        print(context.traceback:match "^stack traceback:" )
      end)
      lilac.call_soon(error, "oops", 0)
      lilac.sleep(0.001)
    ]]
    assert.equal("a callback failed\toops\tnil\nstack traceback:\n", child.stdout)
    assert.equal("", child.stderr)
    assert.equal(1, child.status)
  end)

  it("that is left at the end of the program is not called", function()
    local child = run [[
      local lilac = require "lilac"
      lilac.call_later(60, print, "called")
    ]]
    assert.equal("", child.stdout)
    assert.equal(0, child.status)
  end)
end)
