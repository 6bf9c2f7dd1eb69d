local lilac = require "lilac"
local raises = require "spec.support.raises"
local settle = require "spec.support.settle"

describe("ContextVar", function()
  it("has its default, or nil, at first", function()
    assert.is_nil(lilac.ContextVar("x"):get())
    assert.equal(7, lilac.ContextVar("x", 7):get())
    assert.is_false(lilac.ContextVar("x", false):get())
  end)

  it("has the value that was set, false too", function()
    local var = lilac.ContextVar("x", 7)
    for _, value in ipairs { 1, false, "text" } do
      var:set(value)
      assert.equal(value, var:get())
    end
  end)

  it("is one of its own, whatever its name", function()
    local a, b = lilac.ContextVar "x", lilac.ContextVar "x"
    a:set(1)
    assert.is_nil(b:get())
    assert.matches("^ContextVar %(x%): ", tostring(a))
  end)

  it("goes back with the token of a set", function()
    local var = lilac.ContextVar("x", 7)
    local first = var:set(1)
    local second = var:set(2)
    var:reset(second)
    assert.equal(1, var:get())
    var:reset(first)
    assert.equal(7, var:get())
  end)

  it("takes a token once, of its own, in the task of the set", function()
    local var, other = lilac.ContextVar "x", lilac.ContextVar "y"
    local token = var:set(1)
    assert.matches("another variable",
      raises("InvalidStateError", other.reset, other, token).message)
    local task = lilac.create_task(function()
      return raises("InvalidStateError", var.reset, var, token).message
    end)
    assert.matches("another task", task:await())
    var:reset(token)
    assert.matches("used already", raises("InvalidStateError", var.reset, var, token).message)
  end)

  it("refuses nil and other wrong arguments", function()
    local var = lilac.ContextVar "x"
    assert.error_matches(function() var:set(nil) end, "bad argument #1 to 'set'")
    assert.error_matches(function() var:reset {} end, "Token expected")
    assert.error_matches(function() lilac.ContextVar() end, "string expected")
    assert.error_matches(function() var.get {} end, "ContextVar expected")
  end)
end)

describe("a task", function()
  it("inherits its creator's values as they are when it is created", function()
    local var = lilac.ContextVar "x"
    var:set "before"
    local task = lilac.create_task(function()
      settle()
      return var:get()
    end)
    var:set "after"
    assert.equal("before", task:await())
  end)

  it("sets values for itself, and for those it creates", function()
    local var = lilac.ContextVar("x", "default")
    local inner
    local task = lilac.create_task(function()
      var:set "mine"
      settle()
      inner = lilac.create_task(var.get, var):await()
      return var:get()
    end)
    settle()
    assert.equal("default", var:get())
    assert.equal("mine", task:await())
    assert.equal("mine", inner)
    assert.equal("default", var:get())
  end)

  it("has its own value while others set theirs", function()
    local var, tasks = lilac.ContextVar "x", {}
    for i = 1, 10 do
      tasks[i] = function()
        var:set(i)
        for _ = 1, 3 do lilac.sleep(0) end
        return var:get()
      end
    end
    assert.same({ 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, n = 10 }, lilac.gather(tasks))
  end)

  it("has the values inside its coroutines, gathers, groups and timeouts too", function()
    local var = lilac.ContextVar "x"
    var:set "mine"
    assert.equal("mine", coroutine.wrap(var.get)(var))
    local function get() return var:get() end
    assert.equal("mine", (lilac.gather(get)))
    assert.equal("mine", lilac.timeout(60, get))
    assert.equal("mine", lilac.wait_for(lilac.create_task(get), 60))
    assert.equal("mine", lilac.TaskGroup(function(tg) return tg:create_task(get):await() end))
  end)

  it("keeps what a function set that runs in it: a timeout is no task", function()
    local var = lilac.ContextVar "x"
    lilac.timeout(60, var.set, var, 1)
    assert.equal(1, var:get())
  end)

  it("leaves nothing to a later one", function()
    local var = lilac.ContextVar "x"
    for i = 1, 100 do
      local task = lilac.create_task(function()
        local before = var:get()
        var:set(i)
        return before
      end)
      assert.is_nil(task:await())
    end
  end)
end)

describe("callbacks", function()
  it("have the values of the task that scheduled them", function()
    local var, seen = lilac.ContextVar "x", {}
    local task = lilac.create_task(function()
      var:set "mine"
      lilac.call_soon(function() seen.soon = var:get() end)
      lilac.call_later(0.001, function() seen.later = var:get() end)
      lilac.current_task():add_done_callback(function() seen.done = var:get() end)
    end)
    task:await()
    settle()
    lilac.sleep(0.005)
    assert.same({ soon = "mine", later = "mine", done = "mine" }, seen)
  end)

  it("set values for themselves", function()
    local var, other = lilac.ContextVar("x", "default"), nil
    lilac.call_soon(var.set, var, "in a callback")
    settle()
    lilac.call_soon(function() other = var:get() end)
    settle()
    assert.equal("default", var:get())
    assert.equal("default", other)
  end)

  it("give them to the tasks they create", function()
    local var, got = lilac.ContextVar "x", nil
    var:set "mine"
    lilac.call_soon(function() lilac.create_task(function() got = var:get() end) end)
    settle()
    assert.equal("mine", got)
  end)
end)
