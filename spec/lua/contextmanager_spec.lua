local lilac = require "lilac"
local raises = require "spec.support.raises"
local settle = require "spec.support.settle"
local start = settle.start

describe("contextmanager", function()
  it("acquires, yields values after the guard, and releases at the end of the scope", function()
    local log = {}
    local open = lilac.contextmanager(function(...)
      log[#log + 1] = table.pack("acquire", ...)
      coroutine.yield("db", nil, 3)
      log[#log + 1] = "release"
    end)
    do
      local _ <close>, db, none, three = open("a", nil)
      assert.same({ "db", nil, 3 }, { db, none, three })
      log[#log + 1] = "body"
    end
    assert.same({ { "acquire", "a", nil, n = 3 }, "body", "release" }, log)
  end)

  it("lets acquiring, the body and releasing await", function()
    local log = {}
    local open = lilac.contextmanager(function()
      lilac.sleep(0)
      log[1] = "acquired"
      coroutine.yield()
      lilac.sleep(0)
      log[3] = "released"
    end)
    do
      local _ <close> = open()
      lilac.sleep(0)
      log[2] = "body"
    end
    assert.same({ "acquired", "body", "released" }, log)
  end)

  it("raises the error of the body at the yield", function()
    local seen
    local open = lilac.contextmanager(function()
      local _, err = pcall(coroutine.yield)
      seen = err
      error(err, 0)
    end)
    local err = {}
    local ok, raised = pcall(function()
      local _ <close> = open()
      error(err)
    end)
    assert.is_false(ok)
    assert.equal(err, raised)
    assert.equal(err, seen)
  end)

  it("runs the <close> variables of the generator when the body fails", function()
    local log = {}
    local open = lilac.contextmanager(function()
      local _ <close> = setmetatable({}, { __close = function(_, err)
        lilac.sleep(0)
        log[#log + 1] = err
      end })
      coroutine.yield()
      log[#log + 1] = "not reached"
    end)
    assert.same({ false, "oops" }, { pcall(function()
      local _ <close> = open()
      error("oops", 0)
    end) })
    assert.same({ "oops" }, log)
  end)

  it("cannot suppress the error of the body", function()
    local open = lilac.contextmanager(function() pcall(coroutine.yield) end)
    assert.same({ false, "oops" }, { pcall(function()
      local _ <close> = open()
      error("oops", 0)
    end) })
  end)

  it("may replace the error of the body by another", function()
    local open = lilac.contextmanager(function()
      local _, err = pcall(coroutine.yield)
      error("because of " .. err, 0)
    end)
    assert.same({ false, "because of oops" }, { pcall(function()
      local _ <close> = open()
      error("oops", 0)
    end) })
  end)

  it("raises what releasing raises", function()
    local open = lilac.contextmanager(function()
      coroutine.yield()
      error("release", 0)
    end)
    assert.same({ false, "release" }, { pcall(function() local _ <close> = open() end) })
  end)

  it("raises what acquiring raises, where the factory is called", function()
    local open = lilac.contextmanager(function() error("acquire", 0) end)
    assert.same({ false, "acquire" }, { pcall(open) })
  end)

  it("passes nil, false and other error values of the body", function()
    local seen
    local open = lilac.contextmanager(function()
      local ok, err = pcall(coroutine.yield)
      seen = table.pack(ok, err)
    end)
    assert.same({ false, false }, { pcall(function()
      local _ <close> = open()
      error(false)
    end) })
    assert.same({ false, false, n = 2 }, seen)
  end)

  it("raises a cancellation at the yield, which goes on after clean-up", function()
    local log = {}
    local open = lilac.contextmanager(function()
      local _ <close> = setmetatable({}, { __close = function(_, err)
        lilac.sleep(0.001)
        log[#log + 1] = err.name
      end })
      pcall(coroutine.yield)
      log[#log + 1] = "not reached"
    end)
    local task = start(function()
      local _ <close> = open()
      lilac.sleep(60)
    end)
    task:cancel()
    raises("CancelledError", task.await, task)
    assert.is_true(task:cancelled())
    assert.same({ "CancelledError" }, log)
  end)

  it("keeps a cancellation that lilac.pcall catches at the yield", function()
    local open = lilac.contextmanager(function() lilac.pcall(coroutine.yield) end)
    local task = start(function()
      local _ <close> = open()
      lilac.sleep(60)
    end)
    task:cancel()
    settle()
    assert.is_true(task:cancelled())
  end)

  it("can be cancelled while it acquires", function()
    local closed = false
    local open = lilac.contextmanager(function()
      local _ <close> = setmetatable({}, { __close = function() closed = true end })
      lilac.sleep(60)
      coroutine.yield()
    end)
    local task = start(function() local _ <close> = open() end)
    task:cancel()
    settle()
    assert.is_true(task:cancelled())
    assert.is_true(closed)
  end)

  it("lets a timeout inside the generator span the body", function()
    local open = lilac.contextmanager(function()
      local _ <close> = lilac.timeout(0.005)
      coroutine.yield()
    end)
    raises("TimeoutError", function()
      local _ <close> = open()
      lilac.sleep(60)
    end)
  end)

  it("may be used in one another, and in loops", function()
    local log = {}
    local open = lilac.contextmanager(function(name)
      coroutine.yield(name)
      log[#log + 1] = name
    end)
    for i = 1, 2 do
      local _ <close>, a = open("a" .. i)
      local _ <close>, b = open("b" .. i)
      assert.equal("a" .. i, a)
      assert.equal("b" .. i, b)
    end
    assert.same({ "b1", "a1", "b2", "a2" }, log)
  end)

  it("refuses a generator that does not yield, or yields twice", function()
    local err = raises("InvalidStateError", lilac.contextmanager(function() end))
    assert.matches("did not yield", err.message)
    local closed = false
    local twice = lilac.contextmanager(function()
      local _ <close> = setmetatable({}, { __close = function() closed = true end })
      coroutine.yield()
      coroutine.yield()
    end)
    err = raises("InvalidStateError", function() local _ <close> = twice() end)
    assert.matches("yielded twice", err.message)
    assert.is_true(closed)
  end)

  it("refuses what is no function", function()
    local _, message = pcall(function() lilac.contextmanager(1) end)
    assert.matches("contextmanager_spec.lua:%d+: bad argument #1 to 'contextmanager' "
      .. "%(function expected, got number%)", message)
  end)
end)
