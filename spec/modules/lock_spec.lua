local lilac = require "lilac"
local raises = require "spec.support.raises"
local settle = require "spec.support.settle"

local start = settle.start

describe("Lock", function()
  it("is free at first, and locked while it is acquired", function()
    local lock = lilac.Lock()
    assert.is_false(lock:locked())
    assert.equal(lock, lock:acquire())
    assert.is_true(lock:locked())
    lock:release()
    assert.is_false(lock:locked())
  end)

  it("is released when the scope of the acquired lock ends, also by an error", function()
    local lock = lilac.Lock()
    local ok = pcall(function()
      local _ <close> = lock:acquire()
      lilac.sleep(0)
      error "oops"
    end)
    assert.is_false(ok)
    assert.is_false(lock:locked())
  end)

  it("goes to the tasks in the order of their waiting", function()
    local lock, log = lilac.Lock(), {}
    lock:acquire()
    for i = 1, 3 do
      start(function()
        lock:acquire()
        log[#log + 1] = i
      end)
    end
    for i = 1, 3 do
      lock:release()
      settle()
      assert.equal(i, #log)
      assert.equal(i, log[i])
    end
    lock:release()
    assert.is_false(lock:locked())
  end)

  it("is the next owner's as soon as it is released", function()
    local lock = lilac.Lock()
    lock:acquire()
    local task = start(lock.acquire, lock)
    lock:release()
    assert.is_true(lock:locked())
    assert.equal(task, lock:owner())
    task:await()
  end)

  it("knows its owner, until that has ended", function()
    local lock = lilac.Lock()
    assert.is_nil(lock:owner())
    lock:acquire()
    assert.equal(lilac.current_task(), lock:owner())
    lock:release()
    assert.is_nil(lock:owner())
    start(lock.acquire, lock)
    collectgarbage()
    assert.is_nil(lock:owner())
    assert.is_true(lock:locked())
    assert.matches("^Lock %(locked%): ", tostring(lock))
  end)

  it("cannot be released when it is free", function()
    local lock = lilac.Lock()
    local err = raises("InvalidStateError", lock.release, lock)
    assert.equal("release: the lock is not acquired", err.message)
  end)

  it("may be released by another task, and in a callback", function()
    local lock = lilac.Lock()
    start(lock.acquire, lock)
    lilac.call_soon(lock.release, lock)
    lock:acquire()
    lock:release()
  end)

  it("is not given to a task that was cancelled while it waited", function()
    local lock = lilac.Lock()
    lock:acquire()
    local a, b = start(lock.acquire, lock), start(lock.acquire, lock)
    a:cancel()
    lock:release()
    b:await()
    settle()
    assert.is_true(a:cancelled())
    assert.matches("^Lock %(locked%): ", tostring(lock))
  end)

  it("is taken by one task alone when the first is cancelled and the lock released", function()
    local lock, count = lilac.Lock(), 0
    lock:acquire()
    local tasks = {}
    for i = 1, 3 do
      tasks[i] = start(function()
        lock:acquire()
        count = count + 1
      end)
    end
    tasks[1]:cancel()
    lock:release()
    settle()
    assert.equal(1, count)
    assert.is_true(tasks[2]:done())
    tasks[3]:cancel()
    settle()
  end)

  it("is freed when its only waiter was cancelled", function()
    local lock = lilac.Lock()
    lock:acquire()
    local task = start(lock.acquire, lock)
    task:cancel()
    settle()
    lock:release()
    assert.is_false(lock:locked())
  end)

  it("is not taken in a task cancelled before, free or not", function()
    local lock = lilac.Lock()
    local task = start(function()
      lilac.current_task():cancel()
      lock:acquire()
    end)
    assert.is_true(task:cancelled())
    assert.is_false(lock:locked())
  end)

  it("is had by a task that is cancelled in the turn of the release, and then goes on", function()
    local lock, log = lilac.Lock(), {}
    lock:acquire()
    local function work(name)
      local _ <close> = lock:acquire()
      log[#log + 1] = name
      lilac.sleep(0)
      log[#log + 1] = name
    end
    local a, b = start(work, "a"), start(work, "b")
    lock:release()
    a:cancel()
    b:await()
    settle()
    assert.same({ "a", "b", "b" }, log)
    assert.is_true(a:cancelled())
    assert.is_false(lock:locked())
  end)

  it("is not taken by a task whose deadline comes first", function()
    local lock, over = lilac.Lock(), lilac.Event()
    start(function()
      local _ <close> = lock:acquire()
      over:wait()
    end)
    raises("TimeoutError", lilac.timeout, 0.001, lock.acquire, lock)
    over:set()
    local _ <close> = lock:acquire()
  end)

  it("refuses what is not a lock", function()
    assert.error_matches(function() lilac.Lock().acquire(lilac.Semaphore()) end,
                         "Lock expected, got Semaphore")
    assert.error_matches(function() lilac.Lock().release() end, "Lock expected, got no value")
  end)

  it("says in tostring whether it is locked and how many wait", function()
    local lock = lilac.Lock()
    assert.matches("^Lock %(unlocked%): ", tostring(lock))
    lock:acquire()
    local task = start(lock.acquire, lock)
    assert.matches("^Lock %(locked, 1 waiting%): ", tostring(lock))
    lock:release()
    task:await()
  end)

  describe("deadlocks", function()
    it("raises when the task owns the lock itself", function()
      local lock = lilac.Lock()
      local _ <close> = lock:acquire()
      raises("DeadlockError", lock.acquire, lock)
      assert.is_true(lock:locked())
    end)

    it("raises in the task that closes a circle of two locks", function()
      local first, second, both = lilac.Lock(), lilac.Lock(), lilac.Event()
      local other = start(function()
        local _ <close> = first:acquire()
        both:wait()
        local _ <close> = second:acquire()
      end)
      do
        local _ <close> = second:acquire()
        both:set()
        settle()
        raises("DeadlockError", first.acquire, first)
      end
      other:await()
    end)

    it("raises when the owner awaits this task", function()
      local lock = lilac.Lock()
      local _ <close> = lock:acquire()
      local task = lilac.create_task(function()
        raises("DeadlockError", lock.acquire, lock)
        return "told"
      end)
      assert.equal("told", (task:await()))
    end)

    it("does not raise under a deadline, which ends the waiting", function()
      local lock = lilac.Lock()
      local _ <close> = lock:acquire()
      raises("TimeoutError", lilac.timeout, 0.001, lock.acquire, lock)
    end)

    it("does not follow an owner that has ended", function()
      local lock = lilac.Lock()
      start(lock.acquire, lock)
      collectgarbage()
      lilac.call_soon(lock.release, lock)
      lock:acquire()
    end)
  end)
end)

describe("Condition", function()
  it("has the lock that it was given", function()
    local lock = lilac.Lock()
    local condition = lilac.Condition(lock)
    do
      local acquired <close> = condition:acquire()
      assert.equal(condition, acquired)
      assert.is_true(lock:locked())
    end
    assert.is_false(lock:locked())
    lock:acquire()
    assert.is_true(condition:locked())
    condition:release()
    assert.is_false(lock:locked())
  end)

  it("takes a Lock and nothing else", function()
    assert.error_matches(function() lilac.Condition(lilac.Semaphore()) end,
                         "Lock expected, got Semaphore")
  end)

  -- Tasks that acquire, wait and log their number; they keep the lock.
  local function waiters(condition, count)
    local log, tasks = {}, {}
    for i = 1, count do
      tasks[i] = start(function()
        condition:acquire()
        assert.is_true(condition:wait())
        log[#log + 1] = i
      end)
    end
    return log, tasks
  end

  it("releases the lock while a task waits, which has it again when it goes on", function()
    local condition = lilac.Condition()
    local log, tasks = waiters(condition, 3)
    assert.is_false(condition:locked())
    condition:acquire()
    condition:notify()
    settle()
    assert.same({}, log)
    condition:release()
    settle()
    assert.same({ 1 }, log)
    assert.is_true(condition:locked())
    condition:notify(2)
    settle()
    assert.same({ 1 }, log)
    condition:release()
    settle()
    assert.same({ 1, 2 }, log)
    condition:release()
    settle()
    assert.same({ 1, 2, 3 }, log)
    assert.is_true(condition:locked())
    lilac.gather(tasks)
  end)

  it("notifies as many as it is told, or as there are", function()
    local condition, log = lilac.Condition(), {}
    for i = 1, 3 do
      start(function()
        local _ <close> = condition:acquire()
        condition:wait()
        log[#log + 1] = i
      end)
    end
    local function notify(...)
      local _ <close> = condition:acquire()
      condition:notify(...)
    end
    notify(0)
    settle()
    assert.same({}, log)
    notify(1)
    settle()
    assert.same({ 1 }, log)
    notify(2048)
    settle()
    assert.same({ 1, 2, 3 }, log)
    notify()
  end)

  it("notifies all", function()
    local condition, log = lilac.Condition(), {}
    for i = 1, 3 do
      start(function()
        local _ <close> = condition:acquire()
        condition:wait()
        log[#log + 1] = i
      end)
    end
    condition:acquire()
    condition:notify_all()
    condition:release()
    settle()
    assert.same({ 1, 2, 3 }, log)
  end)

  it("needs the lock to be held", function()
    local condition = lilac.Condition()
    for _, op in ipairs { "wait", "notify", "notify_all", "release" } do
      local err = raises("InvalidStateError", condition[op], condition)
      assert.matches("the lock is not acquired", err.message)
    end
  end)

  it("can have several conditions on one lock", function()
    local lock = lilac.Lock()
    local full, empty = lilac.Condition(lock), lilac.Condition(lock)
    local task = start(function()
      local _ <close> = full:acquire()
      return full:wait()
    end)
    local _ <close> = lock:acquire()
    empty:notify_all()
    full:notify_all()
    lock:release()
    assert.is_true((task:await()))
    lock:acquire()
  end)

  it("puts a notified task behind those that wait for the lock already", function()
    local condition, log = lilac.Condition(), {}
    local notified = start(function()
      local _ <close> = condition:acquire()
      condition:wait()
      log[#log + 1] = "notified"
    end)
    condition:acquire()
    local acquirer = start(function()
      local _ <close> = condition:acquire()
      log[#log + 1] = "acquirer"
    end)
    condition:notify()
    condition:release()
    lilac.gather(notified, acquirer)
    assert.same({ "acquirer", "notified" }, log)
  end)

  it("can be waited for under a deadline, and has the lock afterwards", function()
    local condition = lilac.Condition()
    local _ <close> = condition:acquire()
    raises("TimeoutError", lilac.timeout, 0.001, condition.wait, condition)
    assert.equal("Condition (locked)", tostring(condition):match("^(.-):"))
  end)

  it("refuses what is not a condition, and bad counts", function()
    local condition = lilac.Condition()
    assert.error_matches(function() condition.wait(lilac.Lock()) end,
                         "Condition expected, got Lock")
    condition:acquire()
    assert.error_matches(function() condition:notify(-1) end,
                         "number of waiters must be at least 0, got %-1")
    assert.error_matches(function() condition:notify("all") end,
                         "number of waiters: integer expected, got string")
    assert.error_matches(function() condition:wait_for() end, "function expected, got no value")
  end)

  describe("cancelled", function()
    it("while it waits, has the lock again before it raises", function()
      local condition, had = lilac.Condition(), nil
      local task = start(function()
        local me = lilac.current_task()
        local _ <close> = condition:acquire()
        local _ <close> = setmetatable({}, {
          __close = function() had = condition:locked() and me end,
        })
        condition:wait()
      end)
      task:cancel()
      settle()
      assert.is_true(task:cancelled())
      assert.equal(task, had)
      assert.is_false(condition:locked())
      assert.matches("^Condition %(unlocked%): ", tostring(condition))
    end)

    it("while another has the lock, waits for it before it raises", function()
      local condition = lilac.Condition()
      local task = start(function()
        local _ <close> = condition:acquire()
        condition:wait()
      end)
      condition:acquire()
      task:cancel()
      settle()
      assert.is_false(task:done())
      condition:release()
      settle()
      assert.is_true(task:cancelled())
      assert.is_false(condition:locked())
    end)

    it("twice, the second time while it acquires the lock, still acquires it", function()
      local condition = lilac.Condition()
      local task = start(function()
        local _ <close> = condition:acquire()
        condition:wait()
      end)
      condition:acquire()
      task:cancel "one"
      settle()
      task:cancel "two"
      settle()
      assert.is_false(task:done())
      assert.equal(2, task:cancelling())
      condition:release()
      settle()
      assert.is_true(task:cancelled())
      assert.is_false(condition:locked())
    end)

    it("before it was notified, takes no notification away, and wakes no other", function()
      local condition = lilac.Condition()
      local log, tasks = waiters(condition, 3)
      tasks[1]:cancel()
      settle()
      assert.same({}, log)
      assert.is_false(tasks[2]:done())
      condition:release() -- these waiters keep the lock
      condition:acquire()
      condition:notify()
      condition:release()
      settle()
      assert.same({ 2 }, log)
      tasks[3]:cancel()
      condition:release()
      settle()
    end)

    for moment, pause in pairs { ["at once"] = function() end, ["later"] = settle } do
      it("after it was notified, " .. moment .. ", lets the notification go on", function()
        local condition, items = lilac.Condition(), 0
        local function consume()
          local _ <close> = condition:acquire()
          condition:wait_for(function() return items > 0 end)
          items = items - 1
        end
        local a, b = start(consume), start(consume)
        condition:acquire()
        items = 1
        condition:notify()
        pause()
        a:cancel()
        condition:release()
        b:await()
        settle()
        assert.equal(0, items)
        assert.is_true(a:cancelled())
        assert.is_false(condition:locked())
      end)
    end

    it("in the turn in which it got the lock, goes on with the notification", function()
      local condition, passed = lilac.Condition(), nil
      local a = start(function()
        local _ <close> = condition:acquire()
        passed = condition:wait()
        lilac.sleep(1)
      end)
      local b = start(function()
        local _ <close> = condition:acquire()
        condition:wait()
      end)
      condition:acquire()
      condition:notify()
      condition:release()
      a:cancel()
      settle()
      assert.is_true(passed)
      assert.is_true(a:cancelled())
      assert.is_false(b:done())
      assert.is_false(condition:locked())
      b:cancel()
      settle()
    end)

    it("before it waits, keeps the lock", function()
      local condition, had = lilac.Condition(), nil
      local task = start(function()
        local _ <close> = condition:acquire()
        lilac.current_task():cancel()
        local ok = lilac.pcall(condition.wait, condition)
        had = not ok and condition:locked()
        lilac.current_task():uncancel()
      end)
      task:await()
      assert.is_true(had)
    end)
  end)

  describe("wait_for", function()
    it("returns a true value of the predicate at once, also without the lock", function()
      local condition, value = lilac.Condition(), {}
      assert.equal(value, condition:wait_for(function() return value end))
      raises("InvalidStateError", condition.wait_for, condition, function() return false end)
    end)

    it("waits until the predicate is true after a notification", function()
      local condition, ready, asked = lilac.Condition(), nil, 0
      local task = start(function()
        local _ <close> = condition:acquire()
        return condition:wait_for(function()
          asked = asked + 1
          assert.is_true(condition:locked())
          return ready
        end)
      end)
      local function notify()
        local _ <close> = condition:acquire()
        condition:notify()
      end
      notify()
      settle()
      assert.is_false(task:done())
      assert.equal(2, asked)
      ready = "now"
      settle()
      assert.is_false(task:done())
      notify()
      assert.equal("now", (task:await()))
      assert.equal(3, asked)
    end)

    it("takes a predicate that awaits, and any callable object", function()
      local condition = lilac.Condition()
      local predicate = setmetatable({}, {
        __call = function()
          lilac.sleep(0)
          return 42
        end,
      })
      assert.equal(42, condition:wait_for(predicate))
    end)

    it("raises the error of the predicate, with the lock held", function()
      local condition = lilac.Condition()
      local _ <close> = condition:acquire()
      local ok, err = pcall(condition.wait_for, condition, function() error("oops", 0) end)
      assert.same({ false, "oops" }, { ok, err })
      assert.is_true(condition:locked())
    end)

    it("raises the cancellation as it came, with the lock held", function()
      local condition, raised = lilac.Condition(), nil
      local task = start(function()
        local _ <close> = condition:acquire()
        local _ <close> = setmetatable({}, {
          __close = function(_, err) raised = condition:locked() and err end,
        })
        condition:wait_for(function() return false end)
      end)
      task:cancel "foo"
      settle()
      assert.is_true(task:cancelled())
      assert.matches("foo", tostring(raised))
      assert.is_false(condition:locked())
    end)
  end)

  it("says in tostring whether the lock is held and how many wait", function()
    local condition = lilac.Condition()
    assert.matches("^Condition %(unlocked%): ", tostring(condition))
    local _, tasks = waiters(condition, 1)
    condition:acquire()
    assert.matches("^Condition %(locked, 1 waiting%): ", tostring(condition))
    condition:notify()
    condition:release()
    tasks[1]:await()
  end)
end)
