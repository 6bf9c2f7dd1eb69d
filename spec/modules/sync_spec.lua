local lilac = require "lilac"
local hold = require "spec.support.hold"
local raises = require "spec.support.raises"
local settle = require "spec.support.settle"

local errors, start = lilac.errors, settle.start

describe("Event", function()
  it("is not set at first, and is what set and clear make of it", function()
    local event = lilac.Event()
    assert.is_false(event:is_set())
    event:set()
    assert.is_true(event:is_set())
    event:clear()
    assert.is_false(event:is_set())
  end)

  it("does not make a task wait when it is set", function()
    local event = lilac.Event()
    event:set()
    assert.is_true(event:wait())
  end)

  it("lets go all that wait, and tasks that come later do not wait", function()
    local event, log = lilac.Event(), {}
    local function wait(name) log[name] = event:wait() end
    local a, b = start(wait, "a"), start(wait, "b")
    assert.same({}, log)
    event:set()
    lilac.gather(a, b, start(wait, "c"))
    assert.same({ a = true, b = true, c = true }, log)
  end)

  it("lets go those that waited, also when it is cleared at once", function()
    local event = lilac.Event()
    local task = start(event.wait, event)
    event:set()
    event:clear()
    assert.is_true(task:await())
    assert.is_false(event:is_set())
  end)

  it("forgets a task that was cancelled while it waited", function()
    local event = lilac.Event()
    local task = start(event.wait, event)
    task:cancel()
    settle()
    assert.is_true(task:cancelled())
    assert.matches("^Event %(unset%)", tostring(event))
    event:set()
  end)

  it("never starts to wait in a task cancelled before", function()
    local event = lilac.Event()
    local task = lilac.create_task(function()
      lilac.current_task():cancel()
      event:wait()
    end)
    settle()
    assert.is_true(task:cancelled())
    assert.matches("^Event %(unset%)", tostring(event))
  end)

  it("raises a pending cancellation also when it is set", function()
    local event = lilac.Event()
    event:set()
    local passed = false
    local task = start(function()
      lilac.current_task():cancel()
      event:wait()
      passed = true
    end)
    assert.is_true(task:cancelled())
    assert.is_false(passed)
  end)

  it("lets a task pass that is cancelled in the turn in which it was set", function()
    local event, passed = lilac.Event(), nil
    local task = start(function()
      passed = event:wait()
      lilac.sleep(1)
    end)
    event:set()
    task:cancel()
    settle()
    assert.is_true(passed)
    assert.is_true(task:cancelled())
  end)

  it("ends by a deadline", function()
    local event = lilac.Event()
    raises("TimeoutError", lilac.timeout, 0.001, event.wait, event)
    assert.matches("^Event %(unset%)", tostring(event))
  end)

  it("refuses what is not an event", function()
    local event = lilac.Event()
    for _, value in ipairs { 1, "x", {}, io.stdout, lilac.Semaphore() } do
      assert.error_matches(function() event.set(value) end, "Event expected, got")
    end
    assert.error_matches(function() event.wait() end, "Event expected, got no value")
  end)

  it("is set from a callback", function()
    local event = lilac.Event()
    lilac.call_soon(event.set, event)
    assert.is_true(event:wait())
  end)

  it("cannot be waited for in a callback of a C function, set or not", function()
    local event = lilac.Event()
    event:set()
    local ok = pcall(table.sort, { 1, 2 }, function() return event:wait() end)
    assert.is_false(ok)
  end)

  it("can be waited for in a user coroutine", function()
    local event = lilac.Event()
    local task = start(coroutine.wrap(function() return event:wait(), "passed" end))
    event:set()
    assert.same({ true, "passed" }, { task:await() })
  end)

  it("says in tostring whether it is set and how many wait", function()
    local event = lilac.Event()
    assert.matches("^Event %(unset%): ", tostring(event))
    local task = start(event.wait, event)
    assert.matches("^Event %(unset, 1 waiting%): ", tostring(event))
    event:set()
    assert.matches("^Event %(set%): ", tostring(event))
    task:await()
  end)
end)

describe("Semaphore", function()
  it("has one permit when nothing is said", function()
    assert.equal(1, lilac.Semaphore():value())
  end)

  it("may start without permits", function()
    assert.is_true(lilac.Semaphore(0):locked())
  end)

  it("gives permits as long as there are any", function()
    local semaphore = lilac.Semaphore(2)
    assert.equal(semaphore, semaphore:acquire())
    assert.is_false(semaphore:locked())
    semaphore:acquire()
    assert.equal(0, semaphore:value())
    assert.is_true(semaphore:locked())
  end)

  it("releases one permit for every <close>", function()
    local semaphore = lilac.Semaphore(2)
    do
      local first <close> = semaphore:acquire()
      local second <close> = semaphore:acquire()
      assert.equal(first, second)
      assert.equal(0, semaphore:value())
    end
    assert.equal(2, semaphore:value())
  end)

  it("may be released more often than it was acquired", function()
    local semaphore = lilac.Semaphore(0)
    semaphore:release()
    semaphore:release()
    assert.equal(2, semaphore:value())
  end)

  it("gives permits in the order of the waiting", function()
    local semaphore, log = lilac.Semaphore(0), {}
    for i = 1, 3 do
      start(function()
        semaphore:acquire()
        log[#log + 1] = i
      end)
    end
    for i = 1, 3 do
      semaphore:release()
      settle()
      assert.equal(i, log[#log])
      assert.equal(i, #log)
    end
  end)

  it("gives a permit away as soon as it is released", function()
    local semaphore = lilac.Semaphore()
    semaphore:acquire()
    local task = start(semaphore.acquire, semaphore)
    semaphore:release()
    assert.is_true(semaphore:locked())
    semaphore:release()
    assert.equal(1, semaphore:value())
    task:await()
  end)

  it("puts a task that acquires again behind those that wait", function()
    local semaphore, log = lilac.Semaphore(1), {}
    local function work(name)
      for i = 1, 2 do
        semaphore:acquire()
        log[#log + 1] = name .. i
        lilac.sleep(0)
        semaphore:release()
      end
    end
    semaphore:acquire()
    local tasks = { start(work, "a"), start(work, "b"), start(work, "c") }
    semaphore:release()
    lilac.gather(tasks)
    assert.same({ "a1", "b1", "c1", "a2", "b2", "c2" }, log)
  end)

  it("gives nothing to a task that was cancelled while it waited", function()
    local semaphore = lilac.Semaphore(0)
    local a, b = start(semaphore.acquire, semaphore), start(semaphore.acquire, semaphore)
    a:cancel()
    semaphore:release()
    b:await()
    settle()
    assert.is_true(a:cancelled())
    assert.equal(0, semaphore:value())
  end)

  it("gives two permits to the two that are left of four", function()
    local semaphore, tasks = lilac.Semaphore(0), {}
    for i = 1, 4 do tasks[i] = start(semaphore.acquire, semaphore) end
    tasks[1]:cancel()
    tasks[3]:cancel()
    semaphore:release()
    settle()
    assert.is_true(tasks[2]:done())
    assert.is_false(tasks[4]:done())
    semaphore:release()
    tasks[4]:await()
  end)

  it("takes no permit in a task cancelled before", function()
    local semaphore = lilac.Semaphore()
    local task = start(function()
      lilac.current_task():cancel()
      local _ <close> = semaphore:acquire()
    end)
    assert.is_true(task:cancelled())
    assert.equal(1, semaphore:value())
  end)

  it("lets a task have its permit that is cancelled in the turn of the release", function()
    local semaphore, got = lilac.Semaphore(0), nil
    local task = start(function()
      local permit <close> = semaphore:acquire()
      got = permit
      lilac.sleep(1)
    end)
    semaphore:release()
    task:cancel()
    settle()
    assert.equal(semaphore, got)
    assert.is_true(task:cancelled())
    assert.equal(1, semaphore:value())
  end)

  it("loses no permit to a task that is cancelled in the turn of the release and ends", function()
    local semaphore = lilac.Semaphore(0)
    local task = start(semaphore.acquire, semaphore)
    semaphore:release()
    task:cancel()
    local ok, permit = pcall(task.await, task)
    assert.is_true(ok and permit == semaphore or semaphore:value() == 1)
  end)

  it("ends by a deadline, which takes no permit", function()
    local semaphore = lilac.Semaphore(0)
    raises("TimeoutError", lilac.timeout, 0.001, semaphore.acquire, semaphore)
    semaphore:release()
    assert.equal(1, semaphore:value())
  end)

  it("keeps the permit that was released when the deadline had fired", function()
    local semaphore = lilac.Semaphore(0)
    local task = start(pcall, lilac.timeout, 0.01, semaphore.acquire, semaphore)
    lilac.call_later(0.01, semaphore.release, semaphore)
    hold(0.015)
    local ok, err = task:await()
    assert.is_false(ok)
    assert.is_true(errors.is(err, "TimeoutError"))
    settle()
    assert.equal(1, semaphore:value())
  end)

  it("loses no permit when release, deadline and cancel come in one turn", function()
    local orders = {
      { "release", "cancel" }, { "cancel", "release" },
      { "release", "hold", "cancel" }, { "cancel", "hold", "release" },
      { "hold", "release", "cancel" }, { "hold", "cancel", "release" },
    }
    for _, order in ipairs(orders) do
      local semaphore = lilac.Semaphore(0)
      local task
      local acts = {
        release = function() semaphore:release() end,
        cancel = function() task:cancel() end,
        hold = function() hold(0.011) end,
      }
      task = start(function()
        local _ <close> = lilac.timeout(0.01)
        local _ <close> = semaphore:acquire()
        lilac.sleep(1)
      end)
      for _, act in ipairs(order) do acts[act]() end
      lilac.wait { task }
      assert.is_true(task:cancelled() or errors.is(task:exception(), "TimeoutError"))
      assert.equal(1, semaphore:value(), table.concat(order, " "))
    end
  end)

  it("raises an argument error for a bad number of permits", function()
    assert.error_matches(function() lilac.Semaphore(-1) end,
                         "number of permits must be at least 0, got %-1")
    assert.error_matches(function() lilac.Semaphore(1.5) end,
                         "number of permits: integer expected, got 1.5")
    assert.error_matches(function() lilac.Semaphore("many") end,
                         "bad argument #1 to 'Semaphore' %(number of permits: integer expected, "
                         .. "got string%)")
  end)

  it("refuses what is not a semaphore", function()
    assert.error_matches(function() lilac.Semaphore().acquire(lilac.Event()) end,
                         "Semaphore expected, got Event")
  end)

  it("says in tostring how many permits are free and how many tasks wait", function()
    local semaphore = lilac.Semaphore(1)
    assert.matches("^Semaphore %(1 free%): ", tostring(semaphore))
    semaphore:acquire()
    local task = start(semaphore.acquire, semaphore)
    assert.matches("^Semaphore %(0 free, 1 waiting%): ", tostring(semaphore))
    semaphore:release()
    task:await()
  end)
end)

describe("BoundedSemaphore", function()
  it("is a semaphore", function()
    local semaphore = lilac.BoundedSemaphore(1)
    do
      local _ <close> = semaphore:acquire()
      assert.is_true(semaphore:locked())
    end
    assert.equal(1, semaphore:value())
    assert.matches("^BoundedSemaphore %(1 free%): ", tostring(semaphore))
  end)

  it("refuses a release too many", function()
    local semaphore = lilac.BoundedSemaphore(2)
    local err = raises("InvalidStateError", semaphore.release, semaphore)
    assert.matches("all 2 permits are free", err.message)
    assert.equal(2, semaphore:value())
  end)

  it("hands a permit over to a waiting task", function()
    local semaphore = lilac.BoundedSemaphore(1)
    semaphore:acquire()
    local task = start(semaphore.acquire, semaphore)
    semaphore:release()
    task:await()
    semaphore:release()
    raises("InvalidStateError", semaphore.release, semaphore)
  end)
end)

describe("Barrier", function()
  it("lets the tasks pass when all have come, numbered in the order of their coming", function()
    local barrier = lilac.Barrier(3)
    local a, b = start(barrier.wait, barrier), start(barrier.wait, barrier)
    assert.equal(2, barrier:n_waiting())
    assert.equal(3, barrier:wait())
    assert.equal(1, (a:await()))
    assert.equal(2, (b:await()))
    assert.equal(0, barrier:n_waiting())
    assert.is_false(barrier:broken())
  end)

  it("never makes the only party wait", function()
    local barrier = lilac.Barrier(1)
    assert.equal(1, barrier:wait())
    assert.equal(1, barrier:wait())
    assert.equal(1, barrier:parties())
  end)

  it("is empty again after they have passed", function()
    local barrier, rounds = lilac.Barrier(3), { 0, 0, 0 }
    local tasks = {}
    for i = 1, 3 do
      tasks[i] = lilac.create_task(function()
        for _ = 1, 5 do
          barrier:wait()
          rounds[i] = rounds[i] + 1
        end
      end)
    end
    lilac.gather(tasks)
    assert.same({ 5, 5, 5 }, rounds)
  end)

  it("gives every number once, also when one was cancelled", function()
    local barrier = lilac.Barrier(3)
    local a, b = start(barrier.wait, barrier), start(barrier.wait, barrier)
    a:cancel()
    settle()
    assert.is_true(a:cancelled())
    assert.equal(1, barrier:n_waiting())
    local c = start(barrier.wait, barrier)
    assert.equal(3, barrier:wait())
    assert.equal(1, (b:await()))
    assert.equal(2, (c:await()))
  end)

  it("lets a task pass that is cancelled in the turn in which the last one came", function()
    local barrier, number = lilac.Barrier(2), nil
    local task = start(function()
      number = barrier:wait()
      lilac.sleep(1)
    end)
    barrier:wait()
    task:cancel()
    settle()
    assert.equal(1, number)
    assert.is_true(task:cancelled())
  end)

  it("raises in all who wait, and in all who come, when it is aborted", function()
    local barrier = lilac.Barrier(3)
    local a, b = start(barrier.wait, barrier), start(barrier.wait, barrier)
    barrier:abort()
    assert.is_true(barrier:broken())
    assert.equal(0, barrier:n_waiting())
    raises("BrokenBarrierError", a.await, a)
    raises("BrokenBarrierError", b.await, b)
    raises("BrokenBarrierError", barrier.wait, barrier)
  end)

  it("raises in all who wait, and is whole, when it is reset", function()
    local barrier = lilac.Barrier(2)
    local a = start(barrier.wait, barrier)
    barrier:reset()
    raises("BrokenBarrierError", a.await, a)
    assert.is_false(barrier:broken())
    local b = start(barrier.wait, barrier)
    assert.equal(2, barrier:wait())
    b:await()
  end)

  it("works again when it is reset after an abort", function()
    local barrier = lilac.Barrier(1)
    barrier:abort()
    barrier:reset()
    assert.equal(1, barrier:wait())
  end)

  it("is passed, once the last one has come, whatever follows in the same turn", function()
    for _, act in ipairs { "abort", "reset" } do
      local barrier = lilac.Barrier(2)
      local task = start(barrier.wait, barrier)
      barrier:wait()
      barrier[act](barrier)
      assert.equal(1, (task:await()))
    end
  end)

  it("stays broken for those who waited when it was reset and passed in the same turn", function()
    local barrier = lilac.Barrier(2)
    local a = start(barrier.wait, barrier)
    barrier:reset()
    local b = lilac.create_task(barrier.wait, barrier)
    raises("BrokenBarrierError", a.await, a)
    settle()
    assert.equal(2, barrier:wait())
    assert.equal(1, (b:await()))
  end)

  it("counts a task that leaves by a deadline out", function()
    local barrier = lilac.Barrier(2)
    raises("TimeoutError", lilac.timeout, 0.001, barrier.wait, barrier)
    assert.equal(0, barrier:n_waiting())
  end)

  it("takes no task that was cancelled before", function()
    local barrier = lilac.Barrier(1)
    local task = start(function()
      lilac.current_task():cancel()
      barrier:wait()
    end)
    assert.is_true(task:cancelled())
  end)

  it("raises an argument error for a bad number of parties", function()
    assert.error_matches(function() lilac.Barrier(0) end,
                         "number of parties must be at least 1, got 0")
    assert.error_matches(function() lilac.Barrier() end,
                         "number of parties: integer expected, got no value")
    assert.error_matches(function() lilac.Barrier(2).wait(1) end, "Barrier expected, got number")
  end)

  it("says in tostring how many have come", function()
    local barrier = lilac.Barrier(2)
    assert.matches("^Barrier %(0/2 waiting%): ", tostring(barrier))
    barrier:abort()
    assert.matches("^Barrier %(broken%): ", tostring(barrier))
  end)
end)
