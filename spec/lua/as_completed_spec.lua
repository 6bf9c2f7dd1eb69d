local lilac = require "lilac"
local raises = require "spec.support.raises"
local settle = require "spec.support.settle"
local start = settle.start

describe("as_completed", function()
  it("yields each task as it ends", function()
    local now = lilac.time()
    local a, b, c = lilac.create_task(lilac.sleep_until, now + 0.008, "a"),
      lilac.create_task(lilac.sleep_until, now + 0.001, "b"),
      lilac.create_task(lilac.sleep_until, now + 0.004, "c")
    local order = {}
    for task in lilac.as_completed { a, b, c } do
      assert.is_true(task:done())
      order[#order + 1] = task:result()
    end
    assert.equal(3, #order)
    if not os.getenv "LILAC_SHUFFLE" then assert.same({ "b", "c", "a" }, order) end
  end)

  it("starts functions, and takes futures", function()
    local future, results = lilac.Future(), {}
    lilac.call_soon(future.set_result, future, "future")
    for task in lilac.as_completed { future, function() return "function" end } do
      results[task:result()] = true
    end
    assert.same({ future = true, ["function"] = true }, results)
  end)

  it("yields what has ended before, and the same task once", function()
    local a, count = start(function() return 1 end), 0
    for task in lilac.as_completed { a, a } do
      assert.equal(a, task)
      count = count + 1
    end
    assert.equal(1, count)
  end)

  it("yields nothing for an empty list", function()
    for _ in lilac.as_completed {} do error "yielded" end
  end)

  it("yields failed and cancelled tasks as well: the outcome is theirs", function()
    local a, b = lilac.create_task(error, "oops", 0), start(lilac.sleep, 60)
    b:cancel()
    local seen = {}
    for task in lilac.as_completed { a, b } do
      seen[task] = task:cancelled() and "cancelled" or task:exception()
    end
    assert.same({ [a] = "oops", [b] = "cancelled" }, seen)
  end)

  it("lets the body await, and loses nothing that ends meanwhile", function()
    local list, count = {}, 0
    for i = 1, 5 do list[i] = function() lilac.sleep(0.001) end end
    for _ in lilac.as_completed(list) do
      count = count + 1
      lilac.sleep(0.002)
    end
    assert.equal(5, count)
  end)

  it("raises TimeoutError in the loop when the time is over; it cancels nothing", function()
    local a, b, seen = lilac.create_task(lilac.sleep, 0), lilac.create_task(lilac.sleep, 60), {}
    raises("TimeoutError", function()
      for task in lilac.as_completed({ a, b }, { timeout = 0.005 }) do seen[#seen + 1] = task end
    end)
    assert.same({ a }, seen)
    assert.is_false(b:done())
    b:cancel()
  end)

  it("yields what has ended in time, though the body took longer than the timeout", function()
    local count = 0
    for _ in lilac.as_completed({ function() end, function() end }, { timeout = 0.02 }) do
      count = count + 1
      lilac.sleep(0.025)
    end
    assert.equal(2, count)
  end)

  it("may be left by break: the others go on, and no callback stays behind", function()
    local slow = lilac.create_task(lilac.sleep, 0.005, "slow")
    for task in lilac.as_completed { slow, function() return "fast" end } do
      if task:result() == "fast" then break end
    end
    assert.equal("slow", slow:await())
  end)

  it("cancels nothing when the loop is cancelled", function()
    local task = lilac.create_task(lilac.sleep, 60)
    local caller = start(function()
      for _ in lilac.as_completed { task } do error "yielded" end
    end)
    caller:cancel()
    settle()
    assert.is_true(caller:cancelled())
    assert.is_false(task:done())
    task:cancel()
  end)

  it("refuses wrong arguments", function()
    assert.error_matches(function() lilac.as_completed() end,
      "bad argument #1 to 'as_completed' %(table expected, got nil%)")
    assert.error_matches(function() lilac.as_completed { 1 } end, "item 1")
    assert.error_matches(function() lilac.as_completed({}, { x = 1 }) end, "unknown option 'x'")
    assert.error_matches(function() lilac.as_completed({}, { timeout = "x" }) end,
      "option 'timeout': number expected")
    assert.error_matches(function() lilac.as_completed({}, 1) end, "table expected, got number")
  end)
end)
