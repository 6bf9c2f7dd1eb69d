local lilac = require "lilac"
local settle = require "spec.support.settle"
local start = settle.start

local function cancel_all(tasks)
  for _, task in ipairs(tasks) do task:cancel() end
end

local function task_for(seconds, err)
  return lilac.create_task(function()
    lilac.sleep(seconds)
    if err then error(err, 0) end
    return seconds
  end)
end

describe("wait", function()
  it("waits until all have ended, and returns them in the order of the list", function()
    local a, b, c = task_for(0.006), task_for(0.001), task_for(0.003)
    local done, pending = lilac.wait { a, b, c }
    assert.same({ a, b, c }, done)
    assert.same({}, pending)
  end)

  it("raises no errors: they are the tasks'", function()
    local a, b = task_for(0, "oops"), task_for(0)
    local done = lilac.wait { a, b }
    assert.equal("oops", done[1]:exception())
    assert.is_nil(done[2]:exception())
  end)

  it("starts functions, the same one for each time it is given", function()
    local count = 0
    local function fn() count = count + 1 end
    local done = lilac.wait { fn, fn }
    assert.equal(2, #done)
    assert.equal(2, count)
  end)

  it("takes futures, and the same task once", function()
    local task, future = task_for(0), lilac.Future()
    lilac.call_soon(future.set_result, future, 1)
    local done = lilac.wait { task, future, task }
    assert.same({ task, future }, done)
  end)

  it("returns when the first one has ended, with FIRST_COMPLETED", function()
    local a, b = task_for(60), task_for(0.001)
    local done, pending = lilac.wait({ a, b }, { return_when = "FIRST_COMPLETED" })
    assert.same({ b }, done)
    assert.same({ a }, pending)
    cancel_all(pending)
  end)

  it("returns all that have ended in the same tick, with FIRST_COMPLETED", function()
    local a, b, c = start(function() end), start(function() end), task_for(60)
    local done, pending = lilac.wait({ a, c, b }, { return_when = "FIRST_COMPLETED" })
    assert.same({ a, b }, done)
    assert.same({ c }, pending)
    cancel_all(pending)
  end)

  it("returns when the first one has failed, with FIRST_EXCEPTION", function()
    local a, b, c = task_for(60), task_for(0.004, "oops"), start(function() end)
    local done, pending = lilac.wait({ a, b, c }, { return_when = "FIRST_EXCEPTION" })
    assert.same({ b, c }, done)
    assert.same({ a }, pending)
    assert.equal("oops", b:exception())
    cancel_all(pending)
  end)

  it("returns at once when one has failed before, with FIRST_EXCEPTION", function()
    local a, b = task_for(60), start(error, "oops", 0)
    local done, pending = lilac.wait({ a, b }, { return_when = "FIRST_EXCEPTION" })
    assert.same({ b }, done)
    assert.equal("oops", b:exception())
    cancel_all(pending)
  end)

  it("waits for all with FIRST_EXCEPTION when none fails, or is cancelled only", function()
    local a, b = task_for(0.003), start(lilac.sleep, 60)
    b:cancel()
    local done = lilac.wait({ a, b }, { return_when = "FIRST_EXCEPTION" })
    assert.same({ a, b }, done)
  end)

  it("returns after the timeout what has ended and what has not; it cancels nothing", function()
    local a, b = task_for(60), task_for(0)
    local done, pending = lilac.wait({ a, b }, { timeout = 0.005 })
    assert.same({ b }, done)
    assert.same({ a }, pending)
    settle()
    assert.is_false(a:done())
    cancel_all(pending)
  end)

  it("does not wait when all have ended, or with a timeout of 0", function()
    local a, b = start(function() end), task_for(60)
    assert.same({ { a }, {} }, { lilac.wait { a } })
    assert.same({ { a }, { b } }, { lilac.wait({ a, b }, { timeout = 0 }) })
    cancel_all { b }
  end)

  it("cancels nothing when it is cancelled itself", function()
    local task = start(lilac.sleep, 60)
    local caller = start(lilac.wait, { task })
    caller:cancel()
    settle()
    assert.is_true(caller:cancelled())
    assert.is_false(task:done())
    task:cancel()
  end)

  it("leaves no callback behind", function()
    local task = lilac.Future()
    for _ = 1, 3 do lilac.wait({ task }, { timeout = 0 }) end
    local added = 0
    task:add_done_callback(function() added = added + 1 end)
    task:set_result()
    settle()
    assert.equal(1, added)
  end)

  it("refuses wrong arguments, and starts nothing then", function()
    local ran = false
    local function fn() ran = true end
    assert.error_matches(function() lilac.wait {} end,
      "bad argument #1 to 'wait' %(the list is empty%)")
    assert.error_matches(function() lilac.wait() end, "table expected, got nil")
    assert.error_matches(function() lilac.wait(lilac.current_task()) end,
      "table expected, got userdata")
    assert.error_matches(function() lilac.wait { fn, 1 } end,
      "item 2: function, Task or Future expected, got number")
    assert.error_matches(function() lilac.wait({ fn }, { x = 1 }) end, "unknown option 'x'")
    assert.error_matches(function() lilac.wait({ fn }, { timeout = "1" }) end, "option 'timeout'")
    assert.error_matches(function() lilac.wait({ fn }, { return_when = "SOON" }) end,
      "option 'return_when': .* got SOON")
    assert.error_matches(function() lilac.wait({ fn }, 1) end, "#2 to 'wait' %(table expected")
    settle()
    assert.is_false(ran)
  end)
end)
