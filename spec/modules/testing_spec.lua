local lilac = require "lilac"
local testing = require "lilac.testing"
local raises = require "spec.support.raises"
local run = require "spec.support.child"

describe("testing.stream_pair", function()
  it("joins two streams in memory", function()
    local a <close>, b = testing.stream_pair()
    a:write "there\n"
    b:write "and back\n"
    assert.equal("there", b:read())
    assert.equal("and back", a:read())
    b:close()
    assert.is_nil(a:read())
  end)

  it("takes a few bytes that nobody has asked for, as the system does", function()
    local a <close>, b = testing.stream_pair()
    a:write(("x"):rep(64 * 1024)):shutdown()
    assert.equal(64 * 1024, #b:read "a")
    b:close()
  end)

  it("tells the writer at once when the other end is closed", function()
    local a <close>, b = testing.stream_pair()
    b:close()
    local err = raises("BrokenPipeError", a.write, a, "x")
    assert.equal("write memory stream: broken pipe (EPIPE)", err.message)
  end)

  it("is at a deadlock when nobody is left to write", function()
    local child = run [[
      local a, b = require "lilac.testing".stream_pair()
      b:write "x"
      a:read(2)
    ]]
    assert.equal(3, child.status)
    assert.matches("stream:read (memory stream)", child.stderr, 1, true)
  end)

  it("holds up no end of the program", function()
    local child = run [[
      local lilac = require "lilac"
      local a, b = lilac.testing.stream_pair()
      lilac.create_task(pcall, a.write, a, ("x"):rep(1 << 24))
      lilac.sleep(0.001)
      a:close()
      print(b:read(1))
    ]]
    assert.same({ "x\n", "", 0 }, { child.stdout, child.stderr, child.status })
  end)

  it("checks its argument", function()
    assert.error_matches(function() testing.stream_pair(1) end, "table expected, got number")
    assert.error_matches(function() testing.stream_pair { limit = "x" } end, "option 'limit'")
    assert.error_matches(function() testing.stream_pair { size = 1 } end,
      "unknown option 'size'; known: limit")
  end)
end)

describe("testing.wait_all_blocked", function()
  it("returns when all the others wait", function()
    local steps = 0
    local gate = lilac.Event()
    local task = lilac.create_task(function()
      for _ = 1, 200 do
        lilac.sleep(0)
        steps = steps + 1
      end
      gate:wait()
    end)
    testing.wait_all_blocked()
    assert.equal(200, steps)
    assert.is_false(task:done())
    gate:set()
    testing.wait_all_blocked()
    assert.is_true(task:done())
  end)

  it("sees what has arrived from the system, or passes through memory, as still under way",
    function()
      for _, pair in ipairs { testing.stream_pair, lilac.pipe.pair } do
        local b, a = pair()
        local task = lilac.create_task(b.read_exactly, b, 1 << 20)
        local writer = lilac.create_task(a.write, a, ("x"):rep(1 << 20))
        testing.wait_all_blocked()
        assert.is_true(task:done())
        writer:await()
        a:close()
        b:close()
      end
    end)

  it("does not wait for time to pass", function()
    local task = lilac.create_task(lilac.sleep, 1000)
    testing.wait_all_blocked()
    assert.is_false(task:done())
    task:cancel()
  end)

  it("may be called by several tasks, and be cancelled", function()
    local first = lilac.create_task(testing.wait_all_blocked)
    local second = lilac.create_task(testing.wait_all_blocked)
    local third = lilac.create_task(testing.wait_all_blocked)
    lilac.create_task(third.cancel, third)
    first:await()
    second:await()
    raises("CancelledError", third.await, third)
  end)

  it("raises in a callback, where nobody can wait", function()
    local ok, err = pcall(table.sort, { 1, 2 }, function() testing.wait_all_blocked() end)
    assert.is_false(ok)
    assert.matches("sort", tostring(err))
  end)
end)
