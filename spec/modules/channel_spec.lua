local lilac = require "lilac"
local raises = require "spec.support.raises"
local run = require "spec.support.child"
local settle = require "spec.support.settle"

local start, to_thread = settle.start, lilac.to_thread

describe("a Channel", function()
  it("hands over items in the order of coming", function()
    local channel = lilac.Channel()
    for i = 1, 100 do channel:put(i) end
    assert.equal(100, channel:qsize())
    for i = 1, 100 do assert.equal(i, channel:get()) end
    assert.is_true(channel:empty())
  end)

  it("is full when it holds as many items as it may", function()
    local channel = lilac.Channel(2)
    assert.equal(2, channel:maxsize())
    channel:put(1)
    assert.is_false(channel:full())
    channel:put_nowait(2)
    assert.is_true(channel:full())
    raises("QueueFull", channel.put_nowait, channel, 3)
    assert.equal(1, channel:get_nowait())
    assert.equal(2, channel:get_nowait())
    raises("QueueEmpty", channel.get_nowait, channel)
    assert.equal(0, lilac.Channel():maxsize())
  end)

  it("carries copies of all that can travel", function()
    local channel, list = lilac.Channel(), { 1, { "two" } }
    channel:put(list)
    local copy = channel:get()
    assert.same(list, copy)
    assert.is_false(rawequal(list, copy))
    channel:put(channel)
    assert.is_true(rawequal(channel, channel:get()))
    local ok, err = pcall(channel.put, channel, { a = io.stdout })
    assert.is_false(ok)
    assert.matches("put: item → field 'a': a FILE%* cannot be sent to another thread", err)
    assert.is_true(channel:empty())
  end)

  it("is the same object in a thread, however often it is sent", function()
    local channel = lilac.Channel()
    assert.is_true(to_thread(function(a, b) return rawequal(a, b) end, channel, channel))
    to_thread(function() channel:put "hello" end)
    assert.equal("hello", channel:get())
    assert.is_true(rawequal(channel, (to_thread(function() return channel end))))
  end)

  it("makes tasks wait on both ends, in any threads", function()
    local channel, back = lilac.Channel(1), lilac.Channel()
    local task = lilac.create_task(to_thread, function()
      for i = 1, 100 do channel:put(i) end
      return back:get()
    end)
    for i = 1, 100 do assert.equal(i, channel:get()) end
    back:put "over"
    assert.equal("over", task:await())
  end)

  it("serves those who wait in the order of coming", function()
    local channel, got = lilac.Channel(1), {}
    for i = 1, 3 do start(function() got[i] = channel:get() end) end
    for i = 1, 3 do channel:put(i) end
    settle()
    assert.same({ 1, 2, 3 }, got)
    channel:put "full"
    local putters = {}
    for i = 1, 3 do putters[i] = start(channel.put, channel, i) end
    for _, item in ipairs { "full", 1, 2, 3 } do assert.equal(item, channel:get()) end
    lilac.gather(putters)
  end)

  it("ends loops and waits when it is shut down, everywhere", function()
    local channel = lilac.Channel(1)
    local sum = lilac.create_task(to_thread, function()
      local total = 0
      for item in channel:iter() do total = total + item end
      return total
    end)
    for i = 1, 10 do channel:put(i) end
    channel:close()
    assert.equal(55, sum:await())
    raises("QueueShutDown", channel.put, channel, 1)
    raises("QueueShutDown", channel.put_nowait, channel, 1)
    raises("QueueShutDown", channel.get, channel)
    raises("QueueShutDown", channel.get_nowait, channel)
    channel:close()
    assert.matches("^Channel %(0/1 items, shut down%)", tostring(channel))
  end)

  it("wakes all when it is shut down, and keeps what was put", function()
    local channel = lilac.Channel(1)
    local begun = lilac.Channel()
    local getters = { start(channel.get, channel),
      start(to_thread, function() begun:put(1) channel:get() end) }
    begun:get()
    channel:shutdown()
    for _, task in ipairs(getters) do raises("QueueShutDown", task.await, task) end
    channel = lilac.Channel(1)
    channel:put "kept"
    local putter = start(channel.put, channel, "not put")
    channel:shutdown()
    raises("QueueShutDown", putter.await, putter)
    assert.equal("kept", channel:get())
    raises("QueueShutDown", channel.get, channel)
  end)

  it("drops its items when it is shut down at once", function()
    local channel = lilac.Channel()
    channel:put(1)
    channel:shutdown(true)
    assert.is_true(channel:empty())
    raises("QueueShutDown", channel.get, channel)
  end)

  it("is shut down by its scope", function()
    local outer
    do
      local channel <close> = lilac.Channel()
      outer = channel
    end
    raises("QueueShutDown", outer.put, outer, 1)
  end)

  it("lets those who wait be cancelled", function()
    local channel = lilac.Channel(1)
    local getter = start(channel.get, channel)
    getter:cancel()
    settle()
    assert.is_true(getter:cancelled())
    channel:put(1)
    local putter = start(channel.put, channel, 2)
    putter:cancel()
    settle()
    assert.is_true(putter:cancelled())
    assert.equal(1, channel:get())
    assert.is_true(channel:empty())
  end)

  it("loses no item to a getter that is cancelled when it has one already", function()
    local channel = lilac.Channel()
    local got
    local getter = start(function()
      got = channel:get()
      lilac.sleep(0)
    end)
    channel:put "item"
    getter:cancel()
    settle()
    assert.equal("item", got)
    assert.is_true(getter:cancelled())
  end)

  it("refuses wrong arguments", function()
    local channel = lilac.Channel()
    local function message(...) return select(2, pcall(...)) end
    assert.matches("capacity %(0 for no limit%)", message(lilac.Channel, -1))
    assert.matches("item", message(channel.put, channel))
    assert.matches("Channel expected", message(channel.put, {}, 1))
    assert.matches("boolean expected", message(channel.shutdown, channel, 1))
  end)

  it("may be finalised by hand, in the middle of a call", function()
    local child = run([[
      local finalise = require "spec.support.finalise"
      local lilac = require "lilac"
      local item = { 1 }
      local function try(name, capacity, ...)
        local channel = lilac.Channel(capacity)
        if capacity == 1 then channel:put(1) end
        local method = channel[name]
        finalise(function() getmetatable(channel).__gc(channel) end)
        print(pcall(method, channel, ...))
      end
      try("put", 0, item)
      try("put", 1, item)
      try("put_nowait", 0, item)
      try("get", 0)]], { limit = 20 })
    assert.equal(("false\tthe Channel was collected\n"):rep(4), child.stdout)
  end)

  it("may be finalised by hand, while it is packed", function()
    local child = run([[
      local finalise = require "spec.support.finalise"
      local lilac = require "lilac"
      local pool, channel, list = lilac.ThreadPool(1), lilac.Channel(), {}
      local function submit() return pcall(pool.submit, pool, print, channel, list) end
      finalise(function() getmetatable(channel).__gc(channel) end)
      print(submit())]], { limit = 20 })
    assert.equal("false\tsubmit: a Channel was collected\n", child.stdout)
  end)
end)

describe("a Channel under a storm of cancellations", function()
  -- Producers and consumers in threads and here, that give up again and again. What was put
  -- arrives, once.
  local ITEMS, PRODUCERS, CONSUMERS = 150, 3, 3

  local function produce(lilac, channel, first, count) -- luacheck: ignore
    for i = first, first + count - 1 do
      local done = false
      while not done do
        local patience = math.random() * 0.0005
        -- A put that was undone by the timeout has not been done.
        lilac.move_on_after(patience, function()
          channel:put(i)
          done = true
        end)
      end
    end
  end

  local function consume(lilac, channel, results) -- luacheck: ignore
    local got = {}
    while true do
      local item
      local ok, err = pcall(lilac.move_on_after, math.random() * 0.0005, function()
        item = channel:get()
      end)
      got[#got + 1] = item
      if not ok then
        assert(err.name == "QueueShutDown", tostring(err))
        break
      end
    end
    results:put(got)
  end

  for _, capacity in ipairs { 1, 8, 0 } do
    it("loses none and doubles none, with capacity " .. capacity, function()
      local channel, results = lilac.Channel(capacity), lilac.Channel()
      do
        local pool <close> = lilac.ThreadPool(4)
        local producers, consumers = {}, {}
        for i = 1, PRODUCERS do
          local first = (i - 1) * ITEMS + 1
          producers[i] = i == 1 and lilac.create_task(produce, lilac, channel, first, ITEMS)
            or pool:submit(produce, lilac, channel, first, ITEMS)
        end
        for i = 1, CONSUMERS do
          consumers[i] = i == 1 and lilac.create_task(consume, lilac, channel, results)
            or pool:submit(consume, lilac, channel, results)
        end
        lilac.gather(producers)
        channel:shutdown()
        lilac.gather(consumers)
      end
      local count, seen = 0, {}
      while not results:empty() do
        local last = {}
        for _, item in ipairs(results:get()) do
          assert.is_nil(seen[item], "doubled")
          seen[item] = true
          count = count + 1
          local producer = (item - 1) // ITEMS
          assert.is_true(item > (last[producer] or 0), "out of order")
          last[producer] = item
        end
      end
      assert.equal(ITEMS * PRODUCERS, count)
    end)
  end
end)

describe("a Channel in a Channel in a Channel, and so on", function()
  it("goes with the last reference to the first, however many they are", function()
    local child = run([[
      local lilac = require "lilac"
      local first
      for _ = 1, 5000 do
        local channel = lilac.Channel()
        if first then channel:put_nowait(first) end
        first = channel
      end
      collectgarbage()
      first = nil
      collectgarbage()
      print "gone"
    ]], { env = "ulimit -s 256;" })
    assert.equal(0, child.status, child.stderr)
    assert.equal("gone\n", child.stdout)
  end)
end)
