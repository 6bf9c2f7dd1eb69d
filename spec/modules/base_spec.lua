-- pcall and xpcall: the stock ones, which let the running task's own cancellation pass. os.exit is
-- in spec/core/interpreter_spec.lua, require in spec/lua/loader_spec.lua.

local lilac = require "lilac"
local run = require "spec.support.child"
local settle = require "spec.support.settle"

-- Runs fn in a task that is cancelled while it waits → the task, when it has ended.
local function cancelled(fn)
  local task = settle.start(fn)
  task:cancel("stop")
  lilac.wait { task }
  return task
end

describe("pcall", function()
  it("returns true and all results", function()
    assert.same({ n = 4, true, 1, nil, 3 }, table.pack(pcall(function() return 1, nil, 3 end)))
    assert.same({ n = 1, true }, table.pack(pcall(function() end)))
  end)

  it("returns false and the error, whatever it is", function()
    local object = {}
    assert.same({ n = 2, false, object }, table.pack(pcall(error, object)))
    assert.same({ n = 2, false, nil }, table.pack(pcall(error)))
    assert.same({ n = 2, false, "e" }, table.pack(pcall(error, "e", 0)))
    assert.is_false((pcall(nil)))
  end)

  it("wants a function", function()
    assert.same({ false, "bad argument #1 to 'pcall' (value expected)" }, { pcall(pcall) })
  end)

  it("lets the task's own cancellation pass", function()
    local after = false
    local task = cancelled(function()
      pcall(pcall, lilac.sleep, 9)
      after = true
    end)
    assert.is_true(task:cancelled())
    assert.is_false(after)
  end)

  it("catches that of a task awaited", function()
    local caught
    cancelled(function()
      local other = lilac.create_task(lilac.sleep, 9)
      other:cancel("other")
      caught = select(2, pcall(other.await, other))
      lilac.sleep(9)
    end)
    assert.matches("^CancelledError: cancelled by task:cancel%(%) at .*: other$", tostring(caught))
  end)

  it("lets the cancellation of a scope pass inside, and catches the timeout outside", function()
    local inside
    local ok, err = pcall(lilac.timeout, 1e-3, function()
      pcall(lilac.sleep, 9)
      inside = true
    end)
    assert.is_false(ok)
    assert.equal("TimeoutError", err.name)
    assert.is_nil(inside)
  end)

  it("catches a cancellation that is raised as a value by another task", function()
    local _, cancellation = pcall(function()
      local other = lilac.create_task(lilac.sleep, 9)
      other:cancel()
      other:await()
    end)
    assert.is_false((pcall(error, cancellation)))
  end)
end)

describe("xpcall", function()
  it("passes arguments and returns results as pcall does", function()
    assert.same({ n = 4, true, 1, nil, 3 },
      table.pack(xpcall(function(...) return ... end, print, 1, nil, 3)))
  end)

  it("returns what its handler makes of an error", function()
    assert.same({ n = 2, false, "e!" },
      table.pack(xpcall(error, function(err) return err .. "!" end, "e", 0)))
    assert.same({ n = 2, false, nil }, table.pack(xpcall(error, function() end, "e")))
  end)

  it("calls the handler where the error was raised, also after an await", function()
    local function culprit()
      lilac.sleep(0)
      error "here"
    end
    local _, name = xpcall(culprit, function() return debug.getinfo(3, "f").func == culprit end)
    assert.is_true(name)
  end)

  it("wants a handler", function()
    assert.same({ false, "bad argument #2 to 'xpcall' (function expected, got no value)" },
      { pcall(xpcall, print) })
  end)

  it("lets the task's own cancellation pass, and does not show it to the handler", function()
    local handled, after = 0, false
    local task = cancelled(function()
      xpcall(lilac.sleep, function() handled = handled + 1 end, 9)
      after = true
    end)
    assert.is_true(task:cancelled())
    assert.equal(0, handled)
    assert.is_false(after)
  end)
end)

describe("lilac.pcall", function()
  it("catches the task's own cancellation as well", function()
    local caught, after
    local task = cancelled(function()
      local _, err = lilac.pcall(lilac.sleep, 9)
      caught = err
      lilac.current_task():uncancel()
      lilac.sleep(0)
      after = true
    end)
    assert.matches("cancelled by task:cancel%(%) at .*: stop$", tostring(caught))
    assert.is_true(after)
    assert.is_false(task:cancelled())
  end)

  it("is pcall for all else", function()
    assert.same({ n = 4, true, 1, nil, 3 },
      table.pack(lilac.pcall(function() return 1, nil, 3 end)))
    assert.same({ n = 2, false, "e" }, table.pack(lilac.pcall(error, "e", 0)))
    assert.same({ n = 3, true, 1, 2 }, table.pack(lilac.pcall(function()
      lilac.sleep(0)
      return 1, 2
    end)))
    assert.same({ n = 2, false, "e" }, table.pack(lilac.pcall(function()
      lilac.sleep(0)
      error("e", 0)
    end)))
    assert.is_false((pcall(lilac.pcall)))
  end)
end)

describe("print", function()
  it("writes its arguments as tostring shows them, with tabs between, and a line feed", function()
    local child = run [[
      print()
      print(nil, true, 1, 1.5, "a\0b", "")
      print(setmetatable({}, { __tostring = function() return "shown" end }), 2)
      io.write("before "); print("after"); io.write("the end\n")
      print(setmetatable({}, { __name = "Thing" }))
      print(("x"):rep(100000))]]
    local start = "\nnil\ttrue\t1\t1.5\ta\0b\t\nshown\t2\nbefore after\nthe end\nThing: 0x"
    assert.equal(start, child.stdout:sub(1, #start))
    assert.equal(("x"):rep(100000) .. "\n", child.stdout:match "\n(x+\n)$")
  end)

  it("raises the error of a __tostring, and then writes nothing", function()
    local child = run [[
      local function bad(fn) return setmetatable({}, { __tostring = fn }) end
      print(pcall(print, "lost", bad(function() return {} end)))
      print(pcall(print, "lost", bad(function() error("oops", 0) end)))]]
    assert.equal("false\t'__tostring' must return a string\nfalse\toops\n", child.stdout)
  end)

  it("stands in the way of a __tostring that awaits", function()
    local slow = setmetatable({}, { __tostring = function() lilac.sleep(0) end })
    local ok, err = pcall(print, slow)
    assert.is_false(ok)
    assert.equal("sleep: cannot await inside 'print', which Lua cannot suspend; await before or "
      .. "after it", err.message)
  end)

  it("writes whole lines, whatever other threads print meanwhile", function()
    local child = run([[
      local lilac = require "lilac"
      local pool <close> = lilac.ThreadPool(4)
      pool:map(function(n)
        for i = 1, 1000 do print(("x"):rep(i % 50), n) end
      end, { 1, 2, 3, 4 })]], { limit = 60 })
    local counts = {}
    for line in child.stdout:gmatch "([^\n]*)\n" do
      local number = line:match "^x*\t(%d)$"
      assert.is_string(number, line)
      counts[number] = (counts[number] or 0) + 1
    end
    assert.same({ ["1"] = 1000, ["2"] = 1000, ["3"] = 1000, ["4"] = 1000 }, counts)
  end)
end)
