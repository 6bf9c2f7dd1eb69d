local lilac = require "lilac"
local settle = require "spec.support.settle"
local turns_during = require "spec.support.turns_during"
local start = settle.start

-- A generator function that yields 1, 2, 3 with awaits in between, and logs its end.
local function counter(log)
  return function(last)
    local _ <close> = setmetatable({}, { __close = function()
      lilac.sleep(0.001)
      log[#log + 1] = "closed"
    end })
    for i = 1, last do
      lilac.sleep(0)
      coroutine.yield(i, -i)
    end
    log[#log + 1] = "end"
  end
end

describe("generator", function()
  it("yields to the loop, and may await in between", function()
    local log, seen = {}, {}
    for a, b in lilac.generator(counter(log), 3) do
      seen[#seen + 1] = a
      assert.equal(-a, b)
      lilac.sleep(0)
    end
    assert.same({ 1, 2, 3 }, seen)
    assert.same({ "end", "closed" }, log)
  end)

  it("passes its arguments, nil ones too", function()
    local got
    for _ in lilac.generator(function(...)
      got = table.pack(...)
      coroutine.yield(true)
    end, 1, nil, 3, nil) do lilac.sleep(0) end
    assert.same({ 1, nil, 3, nil, n = 4 }, got)
  end)

  it("runs nothing before the first step", function()
    local ran = false
    local step = lilac.generator(function() ran = true end)
    assert.is_false(ran)
    assert.is_nil(step())
    assert.is_true(ran)
  end)

  it("is closed by break, and its closing may await", function()
    local log = {}
    for i in lilac.generator(counter(log), 3) do
      if i == 2 then break end
    end
    assert.same({ "closed" }, log)
  end)

  it("is closed by return and by goto", function()
    local log = {}
    assert.equal(1, (function()
      for i in lilac.generator(counter(log), 3) do
        if i > 0 then return i end
      end
    end)())
    for i in lilac.generator(counter(log), 3) do
      if i > 0 then goto out end
    end
    ::out::
    assert.same({ "closed", "closed" }, log)
  end)

  it("is closed by an error of the loop, which goes on", function()
    local log = {}
    assert.same({ false, "oops" }, { pcall(function()
      for _ in lilac.generator(counter(log), 3) do error("oops", 0) end
    end) })
    assert.same({ "closed" }, log)
  end)

  it("is closed by a cancellation in the loop, which goes on", function()
    local log = {}
    local task = start(function()
      for _ in lilac.generator(counter(log), 3) do lilac.sleep(60) end
    end)
    task:cancel()
    lilac.wait({ task })
    assert.is_true(task:cancelled())
    assert.same({ "closed" }, log)
  end)

  it("is closed by a cancellation that reaches it while it awaits", function()
    local log = {}
    local task = start(function()
      for _ in lilac.generator(function()
        local _ <close> = setmetatable({}, { __close = function(_, err)
          log[#log + 1] = err.name
        end })
        lilac.sleep(60)
        coroutine.yield(1)
      end) do log[#log + 1] = "body" end
    end)
    task:cancel()
    settle()
    assert.is_true(task:cancelled())
    assert.same({ "CancelledError" }, log)
  end)

  it("raises its own error in the loop", function()
    local err, seen = {}, nil
    local ok, raised = pcall(function()
      for i in lilac.generator(function()
        coroutine.yield(1)
        error(err)
      end) do seen = i end
    end)
    assert.is_false(ok)
    assert.equal(err, raised)
    assert.equal(1, seen)
  end)

  it("raises the error of its closing", function()
    assert.same({ false, "broken" }, { pcall(function()
      for i in lilac.generator(function()
        local _ <close> = setmetatable({}, { __close = function() error("broken", 0) end })
        coroutine.yield(1)
      end) do
        if i == 1 then break end
      end
    end) })
  end)

  it("that was never begun closes too", function()
    local _, _, _, closer = lilac.generator(function() error "ran" end)
    do local _ <close> = closer end
  end)

  it("gives nil after its end", function()
    local step = lilac.generator(function() coroutine.yield(1) end)
    assert.equal(1, step())
    assert.is_nil(step())
    assert.is_nil(step())
  end)

  it("may hold another", function()
    local log, seen = {}, {}
    for i in lilac.generator(function()
      for j in lilac.generator(counter(log), 3) do coroutine.yield(j * 10) end
    end) do
      seen[#seen + 1] = i
      if i == 20 then break end
    end
    assert.same({ 10, 20 }, seen)
    assert.same({ "closed" }, log)
  end)

  it("lets other tasks run while it awaits", function()
    assert.is_true(turns_during(function()
      for _ in lilac.generator(counter({}), 5) do lilac.sleep(1e-6) end
    end) > 3)
  end)

  it("refuses what is no function", function()
    local _, message = pcall(function() lilac.generator(1) end)
    assert.matches("generator_spec.lua:%d+: bad argument #1 to 'generator' "
      .. "%(function expected, got number%)", message)
  end)
end)
