local lilac = require "lilac"
local hold = require "spec.support.hold"
local raises = require "spec.support.raises"
local settle = require "spec.support.settle"

local errors, start = lilac.errors, settle.start

-- Takes all items out.
local function drain(queue)
  local items = {}
  while not queue:empty() do items[#items + 1] = queue:get_nowait() end
  return items
end

local function fill(queue, items)
  for _, item in ipairs(items) do queue:put(item) end
  return queue
end

local classes = { "Queue", "LifoQueue", "PriorityQueue" }

for _, class in ipairs(classes) do
  describe("any queue: " .. class, function()
    local new = lilac[class]

    it("is empty at first", function()
      local queue = new()
      assert.is_true(queue:empty())
      assert.is_false(queue:full())
      assert.equal(0, queue:qsize())
      assert.equal(0, queue:maxsize())
      queue:put(1)
      assert.is_false(queue:empty())
      assert.equal(1, queue:qsize())
      assert.equal(1, queue:get())
      assert.is_true(queue:empty())
    end)

    it("is full when it holds as many items as it may", function()
      local queue = new(2)
      assert.equal(2, queue:maxsize())
      queue:put(1)
      assert.is_false(queue:full())
      queue:put(2)
      assert.is_true(queue:full())
      raises("QueueFull", queue.put_nowait, queue, 3)
      assert.equal(2, queue:qsize())
    end)

    it("has no limit when maxsize is 0", function()
      local queue = new(0)
      for i = 1, 10000 do queue:put_nowait(i) end
      assert.is_false(queue:full())
      assert.equal(10000, #drain(queue))
    end)

    it("makes a getter wait for an item", function()
      local queue = new()
      local task = start(queue.get, queue)
      assert.is_false(task:done())
      queue:put("a")
      assert.equal("a", (task:await()))
      assert.equal(0, queue:qsize())
    end)

    it("makes a putter wait for a place", function()
      local queue, put = new(1), {}
      local task = start(function()
        for i = 1, 3 do
          queue:put(i)
          put[#put + 1] = i
        end
      end)
      assert.same({ 1 }, put)
      assert.equal(1, queue:get())
      settle()
      assert.same({ 1, 2 }, put)
      assert.equal(2, queue:get())
      assert.equal(3, queue:get())
      task:await()
    end)

    it("gives items to getters in the order of their waiting", function()
      local queue, got = new(), {}
      local tasks = {}
      for i = 1, 3 do
        tasks[i] = start(function() got[i] = queue:get() end)
      end
      for i = 1, 3 do queue:put_nowait(i) end
      assert.is_true(queue:empty())
      lilac.gather(tasks)
      assert.same({ 1, 2, 3 }, got)
    end)

    it("lets nobody overtake a getter that has its item but has not run yet", function()
      local queue = new()
      local task = start(queue.get, queue)
      queue:put(1)
      raises("QueueEmpty", queue.get_nowait, queue)
      queue:put(2)
      assert.equal(2, queue:get())
      assert.equal(1, (task:await()))
    end)

    it("lets nobody overtake a putter that has its place but has not run yet", function()
      local queue = new(1)
      queue:put(1)
      local task = start(queue.put, queue, 2)
      assert.equal(1, queue:get())
      assert.equal(1, queue:qsize())
      raises("QueueFull", queue.put_nowait, queue, 3)
      assert.equal(2, queue:get())
      task:await()
    end)

    it("gives no item to a getter that was cancelled while it waited", function()
      local queue = new()
      local a, b = start(queue.get, queue), start(queue.get, queue)
      a:cancel()
      queue:put("a")
      assert.equal("a", (b:await()))
      settle()
      assert.is_true(a:cancelled())
      assert.is_true(queue:empty())
    end)

    it("takes no item of a putter that was cancelled while it waited", function()
      local queue = new(1)
      queue:put(1)
      local a, b = start(queue.put, queue, 2), start(queue.put, queue, 3)
      a:cancel()
      assert.equal(1, queue:get())
      b:await()
      settle()
      assert.is_true(a:cancelled())
      assert.same({ 3 }, drain(queue))
    end)

    it("neither puts nor gets in a task cancelled before", function()
      local queue = new()
      local function cancelled(op, ...)
        lilac.current_task():cancel()
        queue[op](queue, ...)
      end
      assert.is_true(start(cancelled, "put", 1):cancelled())
      assert.is_true(queue:empty())
      queue:put(1)
      assert.is_true(start(cancelled, "get"):cancelled())
      assert.is_true(start(cancelled, "join"):cancelled())
      assert.equal(1, queue:qsize())
    end)

    it("lets a getter have its item that is cancelled in the turn of the put", function()
      local queue, got = new(), nil
      local task = start(function()
        got = queue:get()
        lilac.sleep(1)
      end)
      queue:put("a")
      task:cancel()
      settle()
      assert.equal("a", got)
      assert.is_true(task:cancelled())
      assert.is_true(queue:empty())
    end)

    it("loses no item to a task cancelled in the turn of the put, which ends with get", function()
      local queue = new()
      local task = start(queue.get, queue)
      queue:put("a")
      task:cancel()
      local ok, item = pcall(task.await, task)
      assert.is_true(ok and item == "a" or queue:qsize() == 1)
    end)

    it("has the item of a putter that is cancelled in the turn of the get", function()
      local queue, put = new(1), false
      queue:put(1)
      local task = start(function()
        queue:put(2)
        put = true
        lilac.sleep(1)
      end)
      queue:get()
      task:cancel()
      settle()
      assert.is_true(put)
      assert.is_true(task:cancelled())
      assert.same({ 2 }, drain(queue))
    end)

    it("ends the waiting by a deadline, and loses nothing", function()
      local queue = new(1)
      raises("TimeoutError", lilac.timeout, 0.001, queue.get, queue)
      queue:put(1)
      raises("TimeoutError", lilac.timeout, 0.001, queue.put, queue, 2)
      raises("TimeoutError", lilac.timeout, 0.001, queue.join, queue)
      assert.same({ 1 }, drain(queue))
      assert.matches("%(0/1 items%)", tostring(queue))
    end)

    it("keeps the item that was put when the deadline had fired", function()
      local queue = new()
      local task = start(pcall, lilac.timeout, 0.01, queue.get, queue)
      lilac.call_later(0.01, queue.put_nowait, queue, "a")
      hold(0.015)
      local ok, err = task:await()
      assert.is_false(ok)
      assert.is_true(errors.is(err, "TimeoutError"))
      settle()
      assert.same({ "a" }, drain(queue))
    end)

    it("loses no item when put, deadline and cancel come in one turn", function()
      local orders = {
        { "put", "cancel" }, { "cancel", "put" },
        { "put", "hold", "cancel" }, { "cancel", "hold", "put" },
        { "hold", "put", "cancel" }, { "hold", "cancel", "put" }, { "put", "hold" },
      }
      for _, order in ipairs(orders) do
        local queue, task, got = new(), nil, {}
        local acts = {
          put = function() queue:put "a" end,
          cancel = function() task:cancel() end,
          hold = function() hold(0.011) end,
        }
        task = start(function()
          local _ <close> = lilac.timeout(0.01)
          got[1] = queue:get()
          lilac.sleep(1)
        end)
        for _, act in ipairs(order) do acts[act]() end
        lilac.wait { task }
        assert.is_true(task:cancelled() or errors.is(task:exception(), "TimeoutError"))
        assert.equal(1, #got + queue:qsize(), table.concat(order, " "))
      end
    end)

    it("refuses nil, and only nil", function()
      local queue = new()
      assert.error_matches(function() queue:put() end,
                           "bad argument #1 to 'put' %(item: value expected, got no value%)")
      assert.error_matches(function() queue:put_nowait(nil) end, "item: value expected, got nil")
      queue:put(false)
      assert.is_false(queue:get())
    end)

    it("refuses a bad maxsize and what is no queue", function()
      assert.error_matches(function() new(-1) end, "maxsize %(0 for no limit%) must be at least 0")
      assert.error_matches(function() new(1.3) end, "integer expected, got 1.3")
      assert.error_matches(function() new("big") end, "integer expected, got string")
      assert.error_matches(function() new().get(lilac.Lock()) end, "Queue expected, got Lock")
      assert.error_matches(function() new().get() end, "Queue expected, got no value")
    end)

    it("has the _nowait calls for callbacks of C functions, where nothing can wait", function()
      local queue = fill(new(), { 1 })
      local function sort(fn)
        return pcall(table.sort, { 1, 2 }, function()
          fn()
          return false
        end)
      end
      assert.is_false(sort(function() queue:get() end))
      assert.is_false(sort(function() queue:put(2) end))
      assert.is_false(sort(function() queue:join() end))
      assert.is_true(sort(function() queue:put_nowait(queue:get_nowait()) end))
      assert.equal(1, queue:qsize())
    end)

    it("works between user coroutines", function()
      local queue = new(1)
      local producer = start(coroutine.wrap(function()
        for i = 1, 100 do queue:put(i) end
      end))
      local consume = coroutine.wrap(function()
        for _ = 1, 100 do coroutine.yield(queue:get()) end
      end)
      local sum = 0
      for _ = 1, 100 do sum = sum + consume() end
      assert.equal(5050, sum)
      producer:await()
    end)

    it("says in tostring what it holds and who waits", function()
      local queue = new(1)
      assert.matches("^" .. class .. " %(0/1 items%): ", tostring(queue))
      local getter = start(queue.get, queue)
      assert.matches("%(0/1 items, 1 in get%)", tostring(queue))
      queue:put(1)
      getter:await()
      queue:put(2)
      local putter = start(queue.put, queue, 3)
      assert.matches("%(1/1 items, 1 in put%)", tostring(queue))
      queue:get()
      putter:await()
      queue:shutdown()
      assert.matches("%(1/1 items, shut down%)", tostring(queue))
      assert.matches("%(0 items%)", tostring(new()))
    end)

    describe("get_nowait and put_nowait", function()
      it("raise when they would have to wait", function()
        local queue = new(1)
        raises("QueueEmpty", queue.get_nowait, queue)
        queue:put_nowait(1)
        local err = raises("QueueFull", queue.put_nowait, queue, 2)
        assert.equal("put_nowait: the queue is full (1 item)", err.message)
        assert.equal(1, queue:get_nowait())
      end)

      it("serve those who wait", function()
        local queue = new(1)
        local getter = start(queue.get, queue)
        queue:put_nowait(1)
        assert.equal(1, (getter:await()))
        queue:put_nowait(2)
        local putter = start(queue.put, queue, 3)
        assert.equal(2, queue:get_nowait())
        putter:await()
        assert.equal(3, queue:get_nowait())
      end)
    end)

    describe("iter", function()
      it("returns items until the queue is shut down and empty", function()
        local queue, got = new(1), {}
        local task = start(function()
          for i = 1, 5 do queue:put(i) end
          queue:shutdown()
        end)
        for item in queue:iter() do got[#got + 1] = item end
        table.sort(got)
        assert.same({ 1, 2, 3, 4, 5 }, got)
        task:await()
      end)

      it("ends at once when the queue is shut down and empty", function()
        local queue = new()
        queue:shutdown()
        for _ in queue:iter() do error "an item" end
      end)

      it("shares the items among several loops", function()
        local queue, count = new(2), 0
        local tasks = {}
        for i = 1, 3 do
          tasks[i] = lilac.create_task(function()
            for item in queue:iter() do
              assert.equal(0, item)
              count = count + 1
            end
          end)
        end
        for _ = 1, 10 do queue:put(0) end
        queue:shutdown()
        lilac.gather(tasks)
        assert.equal(10, count)
      end)

      it("is left by a cancellation", function()
        local queue = new()
        local task = start(function() for _ in queue:iter() do error "an item" end end)
        task:cancel()
        settle()
        assert.is_true(task:cancelled())
      end)
    end)

    describe("join", function()
      it("returns at once for a queue that never had an item", function()
        local queue = new()
        queue:join()
        queue:join()
      end)

      it("waits until the work on all items is over", function()
        local queue, sum, workers = new(), 0, {}
        for i = 1, 100 do queue:put_nowait(i) end
        for i = 1, 2 do
          workers[i] = lilac.create_task(function()
            for item in queue:iter() do
              lilac.sleep(0)
              sum = sum + item
              queue:task_done()
            end
          end)
        end
        queue:join()
        assert.equal(5050, sum)
        queue:shutdown()
        lilac.gather(workers)
      end)

      it("counts items that went straight to a waiting task", function()
        local queue = new()
        local getter = start(queue.get, queue)
        queue:put(1)
        getter:await()
        local join = start(queue.join, queue)
        assert.is_false(join:done())
        queue:task_done()
        join:await()
      end)

      it("is left by a cancellation", function()
        local queue = fill(new(), { 1 })
        local task = start(queue.join, queue)
        task:cancel()
        settle()
        assert.is_true(task:cancelled())
        queue:task_done()
      end)

      it("refuses more task_done calls than items", function()
        local queue = fill(new(), { 1 })
        queue:task_done()
        raises("InvalidStateError", queue.task_done, queue)
      end)
    end)

    describe("shutdown", function()
      it("ends put and get of an empty queue, also for those who wait", function()
        local queue = new()
        local task = start(queue.get, queue)
        queue:shutdown()
        raises("QueueShutDown", task.await, task)
        queue:join()
        for _, op in ipairs { "put", "put_nowait", "get", "get_nowait" } do
          local err = raises("QueueShutDown", queue[op], queue, "item")
          assert.equal(op .. ": the queue is shut down", err.message)
        end
      end)

      it("lets the getters drain the queue, and ends the waiting of putters", function()
        local queue = new(1)
        queue:put("data")
        local join, put = start(queue.join, queue), start(queue.put, queue, "data 2")
        queue:shutdown()
        assert.equal(1, queue:qsize())
        raises("QueueShutDown", put.await, put)
        assert.equal("data", queue:get())
        assert.is_false(join:done())
        raises("QueueShutDown", queue.get, queue)
        queue:task_done()
        join:await()
        raises("InvalidStateError", queue.task_done, queue)
      end)

      it("drops the items, which are then done, when it is immediate", function()
        local queue = fill(new(), { 1, 2 })
        local join = start(queue.join, queue)
        queue:get()
        queue:shutdown(true)
        assert.equal(0, queue:qsize())
        settle()
        assert.is_false(join:done())
        raises("QueueShutDown", queue.get, queue)
        raises("QueueShutDown", queue.get_nowait, queue)
        queue:task_done()
        join:await()
        raises("InvalidStateError", queue.task_done, queue)
      end)

      it("lets a task have the item that was put while it waited", function()
        for _, immediate in ipairs { false, true } do
          local queue = new()
          local a, b = start(queue.get, queue), start(queue.get, queue)
          queue:put("a")
          queue:shutdown(immediate)
          assert.equal("a", (a:await()))
          raises("QueueShutDown", b.await, b)
        end
      end)

      it("keeps the item of a putter whose place came free before", function()
        local queue = fill(new(1), { 1 })
        local task = start(queue.put, queue, 2)
        queue:get()
        queue:shutdown()
        task:await()
        assert.equal(2, queue:get())
      end)

      it("is raised, not the cancellation, in a task cancelled in the same turn", function()
        local queue, caught = new(), nil
        local task = start(function()
          caught = select(2, pcall(queue.get, queue))
          lilac.sleep(1)
        end)
        queue:shutdown()
        task:cancel()
        settle()
        assert.is_true(errors.is(caught, "QueueShutDown"))
        assert.is_true(task:cancelled())
      end)

      it("may be called again, and become immediate", function()
        local queue = fill(new(), { 1 })
        queue:shutdown()
        queue:shutdown()
        assert.equal(1, queue:qsize())
        queue:shutdown(true)
        assert.equal(0, queue:qsize())
        assert.error_matches(function() queue:shutdown(1) end, "boolean expected, got number")
      end)
    end)
  end)
end

describe("Queue", function()
  it("returns the items in the order of the puts", function()
    assert.same({ 1, 3, 2 }, drain(fill(lilac.Queue(), { 1, 3, 2 })))
  end)

  it("keeps the order while it grows, shrinks and goes around", function()
    local queue, put, got = lilac.Queue(), 0, 0
    local random = 1
    for _ = 1, 200 do
      random = random * 75 % 65537
      for _ = 1, random % 200 do
        put = put + 1
        queue:put_nowait(put)
      end
      for _ = 1, math.min(random // 200 % 200, queue:qsize()) do
        got = got + 1
        assert.equal(got, queue:get_nowait())
      end
    end
    for _, item in ipairs(drain(queue)) do
      got = got + 1
      assert.equal(got, item)
    end
    assert.equal(put, got)
  end)

  it("keeps the order of the puts of tasks that wait", function()
    local queue = fill(lilac.Queue(2), { 1, 2 })
    local tasks = {}
    for i = 3, 5 do tasks[#tasks + 1] = start(queue.put, queue, i) end
    local got = {}
    for i = 1, 5 do got[i] = queue:get_nowait() end
    assert.same({ 1, 2, 3, 4, 5 }, got)
    queue:put(6)
    lilac.gather(tasks)
    assert.same({ 6 }, drain(queue))
  end)

  it("holds no reference to an item that was taken", function()
    local queue = lilac.Queue()
    local seen = setmetatable({}, { __mode = "k" })
    for _ = 1, 3 do
      local item = {}
      seen[item] = true
      queue:put(item)
    end
    drain(queue)
    collectgarbage()
    assert.is_nil(next(seen))
  end)

  it("gives its memory back when it was large and is empty", function()
    local queue = lilac.Queue()
    collectgarbage()
    local before = collectgarbage "count"
    for i = 1, 100000 do queue:put_nowait(i) end
    assert.is_true(collectgarbage "count" > before + 1000)
    for _ = 1, 100000 do queue:get_nowait() end
    collectgarbage()
    assert.is_true(collectgarbage "count" < before + 100)
    queue:put(1)
    assert.equal(1, queue:get())
  end)
end)

describe("LifoQueue", function()
  it("returns the newest item first", function()
    assert.same({ 2, 3, 1 }, drain(fill(lilac.LifoQueue(), { 1, 3, 2 })))
  end)
end)

describe("PriorityQueue", function()
  it("returns the least item first", function()
    assert.same({ 1, 2, 3 }, drain(fill(lilac.PriorityQueue(), { 1, 3, 2 })))
  end)

  it("sorts any number of items, and equal ones by the time of their put", function()
    local queue = lilac.PriorityQueue(0, function(a, b) return a.key < b.key end)
    local random, count = 1, 0
    local function check(items)
      for i = 2, #items do
        local a, b = items[i - 1], items[i]
        assert.is_true(a.key < b.key or a.key == b.key and a.number < b.number)
      end
    end
    for _ = 1, 50 do
      for _ = 1, 40 do
        random, count = random * 75 % 65537, count + 1
        queue:put_nowait { key = random % 10, number = count }
      end
      local items = {}
      for i = 1, random % 40 do items[i] = queue:get_nowait() end
      check(items)
    end
    check(drain(queue))
  end)

  it("compares with __lt when it was given no function", function()
    local meta = { __lt = function(a, b) return a[1] < b[1] end }
    local one, two = setmetatable({ 1 }, meta), setmetatable({ 2 }, meta)
    assert.same({ one, two }, drain(fill(lilac.PriorityQueue(), { two, one })))
  end)

  it("takes a callable object to compare with, and refuses anything else", function()
    local more = setmetatable({}, { __call = function(_, a, b) return a > b end })
    assert.same({ 3, 2, 1 }, drain(fill(lilac.PriorityQueue(0, more), { 2, 3, 1 })))
    assert.error_matches(function() lilac.PriorityQueue(0, 1) end, "function expected, got number")
  end)

  it("puts nothing when the comparison fails", function()
    local queue = fill(lilac.PriorityQueue(), { 2, 1 })
    assert.error_matches(function() queue:put "x" end, "attempt to compare")
    assert.error_matches(function() queue:put_nowait {} end, "attempt to compare")
    assert.equal(2, queue:qsize())
    assert.same({ 1, 2 }, drain(queue))
  end)

  it("takes nothing when the comparison fails", function()
    local broken = false
    local queue = fill(lilac.PriorityQueue(0, function(a, b)
      if broken then error "broken" end
      return a < b
    end), { 5, 3, 4, 1, 2 })
    broken = true
    assert.error_matches(function() queue:get() end, "broken")
    assert.error_matches(function() queue:get_nowait() end, "broken")
    assert.equal(5, queue:qsize())
    broken = false
    assert.same({ 1, 2, 3, 4, 5 }, drain(queue))
  end)

  it("raises in a waiting putter what its own item fails in, and serves the next one", function()
    local queue = fill(lilac.PriorityQueue(2), { 1, 2 })
    local bad, good = start(queue.put, queue, "x"), start(queue.put, queue, 3)
    assert.equal(1, queue:get())
    assert.error_matches(function() bad:await() end, "attempt to compare")
    good:await()
    assert.same({ 2, 3 }, drain(queue))
    assert.is_true(pcall(queue.task_done, queue))
  end)

  it("lets a putter put again whose comparison was interrupted in the task of a getter", function()
    local endless = false
    local queue = fill(lilac.PriorityQueue(2, function(a, b)
      while endless do end
      return a < b
    end), { 1, 2 })
    local putter = start(queue.put, queue, 3)
    endless = true
    pcall(function()
      local _ <close> = lilac.timeout(0.01, { interrupt = true })
      queue:get()
    end)
    endless = false
    putter:await()
    assert.same({ 2, 3 }, drain(queue))
  end)

  it("refuses a comparison that awaits, and stays as it was", function()
    local queue = lilac.PriorityQueue(0, function(a, b)
      lilac.sleep(0)
      return a < b
    end)
    queue:put(1)
    assert.is_false((pcall(queue.put, queue, 2)))
    assert.same({ 1 }, drain(queue))
  end)

  it("refuses a comparison that uses the queue", function()
    local queue
    local act = function() end
    queue = fill(lilac.PriorityQueue(3, function(a, b)
      act()
      return a < b
    end), { 2, 1 })
    act = function()
      act = function() end
      queue:put_nowait(3)
    end
    raises("InvalidStateError", queue.put, queue, 4)
    act = function()
      act = function() end
      queue:get_nowait()
    end
    raises("InvalidStateError", queue.get, queue)
    assert.same({ 2, 3 }, drain(queue))
  end)

  it("gives a waiting getter the first item that is put", function()
    local queue = lilac.PriorityQueue()
    local task = start(queue.get, queue)
    queue:put(5)
    queue:put(1)
    assert.equal(5, (task:await()))
    assert.same({ 1 }, drain(queue))
  end)
end)
