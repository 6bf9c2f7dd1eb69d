-- Very many tasks that are ready at once: they need no coroutine before they begin, and the world
-- does not wait for them.
local lilac = require "lilac"
local raises = require "spec.support.raises"
local run = require "spec.support.child"

local MANY = os.getenv "LILAC_STRESS" and 300 or 5000

-- `count` new tasks that run `fn` with their numbers.
local function crowd(count, fn)
  local tasks = {}
  for i = 1, count do tasks[i] = lilac.create_task(fn, i) end
  return tasks
end

describe("tasks created at once", function()
  it("begin in the order of their creation, and all end", function()
    local begun = {}
    local results = lilac.gather(crowd(MANY, function(i)
      begun[#begun + 1] = i
      lilac.sleep(0)
      return i
    end))
    if os.getenv "LILAC_SHUFFLE" then table.sort(begun) end
    for i = 1, MANY do
      assert.equal(i, begun[i])
      assert.equal(i, results[i])
    end
  end)

  it("are little before they begin, and share the coroutines of those that have ended", function()
    local child = run [[
      local lilac = require "lilac"
      local function bytes() return collectgarbage "count" * 1024 end
      collectgarbage()
      local before, most = bytes(), 0
      local tasks = {}
      for i = 1, 20000 do
        tasks[i] = lilac.create_task(function()
          if i % 1000 == 0 then most = math.max(most, bytes()) end
        end)
      end
      print((bytes() - before) / 20000 < 400, bytes())
      lilac.gather(tasks)
      print((most - before) / 20000 < 500, most)]]
    assert.matches("^true\t%S+\ntrue\t", child.stdout, child.stderr)
  end)

  it("let go of their arguments when they end, though others have not begun", function()
    local weak = setmetatable({}, { __mode = "k" })
    local function forget(argument) weak[argument] = true end
    local alive
    local tasks = {}
    for i = 1, MANY do tasks[i] = lilac.create_task(forget, {}) end
    tasks[MANY + 1] = lilac.create_task(function()
      collectgarbage()
      alive = next(weak)
    end)
    for _ = 1, 1000 do tasks[#tasks + 1] = lilac.create_task(forget, {}) end
    lilac.gather(tasks)
    if not os.getenv "LILAC_SHUFFLE" then assert.is_nil(alive) end
  end)

  it("never run when they are cancelled before they begin", function()
    local ran = 0
    local tasks = crowd(MANY, function() ran = ran + 1 end)
    for _, task in ipairs(tasks) do task:cancel "no need" end
    lilac.wait(tasks)
    assert.equal(0, ran)
    for _, task in ipairs(tasks) do assert.is_true(task:cancelled()) end
    raises("CancelledError", tasks[MANY].await, tasks[MANY])
  end)

  it("are all told of, and can be asked", function()
    local before = #lilac.all_tasks()
    local tasks = crowd(MANY, lilac.sleep)
    assert.equal(before + MANY, #lilac.all_tasks())
    assert.matches("%(ready%)", tostring(tasks[MANY]))
    assert.matches("not started", tasks[MANY]:traceback())
    for _, task in ipairs(tasks) do task:cancel() end
    lilac.wait(tasks)
    assert.equal(before, #lilac.all_tasks())
  end)

  it("may have very many arguments", function()
    local numbers = {}
    for i = 1, 10000 do numbers[i] = i end
    local tasks = {}
    for i = 1, 20 do tasks[i] = lilac.create_task(table.pack, table.unpack(numbers)) end
    for _, packed in ipairs(lilac.gather(tasks)) do
      assert.equal(10000, packed.n)
      assert.equal(10000, packed[10000])
    end
  end)

  it("end with the program, begun or not", function()
    local child = run [[
      local lilac = require "lilac"
      for i = 1, 5000 do lilac.create_task(lilac.sleep, 99) end
      local _ <close> = setmetatable({}, { __close = function() print "closed" end })]]
    assert.equal("closed\n", child.stdout)
    assert.equal("", child.stderr)
    assert.equal(0, child.status)
  end)
end)

describe("what has arrived", function()
  -- How many of the others ran before `arrival`, which comes at once, had its turn.
  local function overtaken(arrival)
    local ran, waits, before = 0, false, nil
    local task = lilac.create_task(function()
      waits = true
      arrival()
      before = ran
    end)
    repeat lilac.sleep(0) until waits
    lilac.gather(crowd(MANY, function() ran = ran + 1 end))
    task:await()
    return before
  end

  it("does not wait for all that is ready, when it is a timer", function()
    assert.is_true(overtaken(function() lilac.sleep(1e-6) end) < MANY / 10)
  end)

  it("does not wait for all that is ready, when it is a message", function()
    local one, two = lilac.testing.stream_pair()
    one:write "come"
    assert.is_true(overtaken(function() two:read(4) end) < MANY / 10)
    one:close()
    two:close()
  end)

  it("leaves as many turns to the others", function()
    local turns = { due = 0, ready = 0 }
    local over = false
    local function spin(kind, seconds)
      repeat
        lilac.sleep(seconds)
        turns[kind] = turns[kind] + 1
      until over
    end
    local tasks = {}
    for _ = 1, 100 do
      tasks[#tasks + 1] = lilac.create_task(spin, "due", 1e-9)
      tasks[#tasks + 1] = lilac.create_task(spin, "ready", 0)
    end
    while turns.ready < 2 * MANY do lilac.sleep(0) end
    over = true
    lilac.gather(tasks)
    assert.is_true(turns.due < 3 * turns.ready and turns.ready < 3 * turns.due,
      ("%d and %d"):format(turns.due, turns.ready))
  end)

  it("is served in the order of its coming, when it came together", function()
    local log, due = {}, lilac.time() + 0.2
    lilac.gather(crowd(200, function()
      lilac.sleep_until(due)
      log[#log + 1] = "due"
      lilac.sleep(0)
      log[#log + 1] = "ready"
    end))
    if os.getenv "LILAC_SHUFFLE" then return end
    assert.equal(("due"):rep(200) .. ("ready"):rep(200), table.concat(log))
  end)

  it("does not keep messages out, when more is always due than a turn can serve", function()
    local one, two = lilac.testing.stream_pair()
    local over, spins, rounds = false, 0, 20
    local spinning = crowd(200, function()
      repeat
        lilac.sleep(1e-9)
        spins = spins + 1
      until over
    end)
    local echo = lilac.create_task(function()
      while true do two:write(two:read_exactly(4)) end
    end)
    for _ = 1, rounds do
      one:write "ping"
      assert.equal("ping", one:read_exactly(4))
    end
    assert.is_true(spins < 2000 * rounds, spins)
    over = true
    echo:cancel()
    lilac.gather(spinning)
    one:close()
    two:close()
  end)
end)
