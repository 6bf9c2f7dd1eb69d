-- User coroutines: the stock library, through which an await parks the whole task.

local lilac = require "lilac"
local settle = require "spec.support.settle"

-- A guard that awaits when it is closed, and then logs.
local function guard(log, name)
  return setmetatable({}, { __close = function(_, err)
    lilac.sleep(1e-6)
    log[#log + 1] = ("%s %s"):format(name, tostring(err))
  end })
end

describe("a user coroutine", function()
  it("may await anywhere; its resumer sees yields alone", function()
    local co = coroutine.create(function(a)
      lilac.sleep(1e-6)
      local b = coroutine.yield(a + 1)
      lilac.sleep(0)
      return b * 2
    end)
    assert.same({ true, 2 }, { coroutine.resume(co, 1) })
    assert.equal("suspended", coroutine.status(co))
    assert.same({ true, 10 }, { coroutine.resume(co, 5) })
    assert.equal("dead", coroutine.status(co))
    assert.same({ false, "cannot resume dead coroutine" }, { coroutine.resume(co) })
  end)

  it("parks the task with all its coroutines, and others run", function()
    local others = 0
    local other <close> = lilac.create_task(function()
      while true do
        others = others + 1
        lilac.sleep(0)
      end
    end)
    coroutine.wrap(function()
      coroutine.wrap(function()
        coroutine.wrap(function() lilac.sleep(1e-3) end)()
      end)()
    end)()
    assert.is_true(others > 1)
    assert.is_false(other:done())
  end)

  it("is a generator that awaits, also 3 deep", function()
    local function generator(depth)
      return coroutine.wrap(function()
        if depth == 0 then
          for i = 1, 3 do
            lilac.sleep(1e-6)
            coroutine.yield(i)
          end
        else
          for i in generator(depth - 1) do
            lilac.sleep(0)
            coroutine.yield(i * 2)
          end
        end
      end)
    end
    local seen = {}
    for i in generator(3) do seen[#seen + 1] = i end
    assert.same({ 8, 16, 24 }, seen)
  end)

  it("may be an awaiting C function itself", function()
    assert.equal("result", coroutine.wrap(lilac.sleep)(1e-6, "result"))
    assert.same({ true, "result" },
      { coroutine.resume(coroutine.create(lilac.sleep), 0, "result") })
  end)

  it("may yield and await under pcall, in turns", function()
    local next = coroutine.wrap(function()
      local ok, err = pcall(function()
        lilac.sleep(0)
        local value = coroutine.yield "first"
        lilac.sleep(0)
        error(value, 0)
      end)
      coroutine.yield(tostring(ok) .. err)
      return "last"
    end)
    assert.same({ "first", "falsesent", "last" }, { next(), next "sent", next() })
  end)

  it("passes any number of values, nil among them", function()
    local co = coroutine.wrap(function(...)
      while true do
        lilac.sleep(0)
        coroutine.yield(select("#", ...), ...)
      end
    end)
    assert.same({ n = 4, 3, nil, 2, nil }, table.pack(co(nil, 2, nil)))
  end)

  it("runs on in another task when it has yielded", function()
    local generator = coroutine.wrap(function()
      for i = 1, 3 do
        lilac.sleep(0)
        coroutine.yield(i)
      end
    end)
    assert.equal(1, generator())
    assert.equal(2, lilac.create_task(generator):await())
    assert.equal(3, generator())
  end)

  it("keeps the position of an error with wrap, as stock Lua does", function()
    local ok, err = pcall(coroutine.wrap(function()
      lilac.sleep(0)
      error("e", 0)
    end))
    assert.is_false(ok)
    assert.equal("e", err)
    local object = {}
    assert.equal(object, select(2, pcall(coroutine.wrap(function()
      lilac.sleep(0)
      error(object)
    end))))
  end)

  it("runs its <close> variables, which may await, when it fails", function()
    local log = {}
    local co = coroutine.create(function()
      local _ <close> = guard(log, "a")
      local _ <close> = guard(log, "b")
      error("e", 0)
    end)
    assert.same({ false, "e" }, { coroutine.resume(co) })
    assert.same({ "b e", "a e" }, log)
  end)

  it("can be collected while it is suspended", function()
    local weak = setmetatable({}, { __mode = "v" })
    do
      local co = coroutine.create(function()
        lilac.sleep(0)
        coroutine.yield()
      end)
      coroutine.resume(co)
      weak[1] = co
    end
    collectgarbage()
    collectgarbage()
    assert.is_nil(weak[1])
  end)
end)

describe("a coroutine that is parked in an await", function()
  local co, task, go_on

  before_each(function()
    go_on = lilac.Event()
    task = settle.start(function()
      co = coroutine.create(function()
        go_on:wait()
        return "end"
      end)
      return coroutine.resume(co)
    end)
  end)

  after_each(function()
    go_on:set()
    assert.same({ true, "end" }, { task:await() })
  end)

  it("is normal: what runs it waits for it", function()
    assert.equal("normal", coroutine.status(co))
  end)

  it("cannot be resumed by another task", function()
    assert.same({ false, "cannot resume non-suspended coroutine" }, { coroutine.resume(co) })
  end)

  it("cannot be closed by another task", function()
    assert.same({ false, "cannot close a normal coroutine" }, { pcall(coroutine.close, co) })
  end)

  it("shows where it waits", function()
    assert.matches("^stack traceback:\n\t%[C%]: in method 'wait'\n"
      .. "\t[^\n]*coroutine_spec.lua:%d+: in [^\n]*$", debug.traceback(co))
  end)

  it("is used by one task at a time, when it comes from wrap", function()
    local generator = coroutine.wrap(function() lilac.sleep(1e-3) coroutine.yield(1) end)
    local function use() return pcall(generator) end
    local results = lilac.gather { use, use }
    table.sort(results, function(a) return a == false end) -- whichever came second
    assert.same({ false, true }, { results[1], results[2] })
  end)
end)

describe("the coroutine of a task", function()
  it("cannot be resumed or closed, by itself or by others", function()
    local own
    local go_on = lilac.Event()
    local task = settle.start(function()
      own = coroutine.running()
      assert(not coroutine.resume(own))
      go_on:wait()
    end)
    assert.equal("normal", coroutine.status(own))
    assert.same({ false, "cannot resume non-suspended coroutine" }, { coroutine.resume(own) })
    assert.same({ false, "cannot close a normal coroutine" }, { pcall(coroutine.close, own) })
    go_on:set()
    task:await()
    assert.equal("dead", coroutine.status(own))
    assert.same({ false, "cannot resume dead coroutine" }, { coroutine.resume(own) })
  end)

  it("is the main coroutine there: it cannot yield", function()
    local co, is_main = coroutine.running()
    assert.equal("thread", type(co))
    assert.is_true(is_main)
    assert.is_false(coroutine.isyieldable())
    assert.same({ false, "attempt to yield from outside a coroutine" }, { pcall(coroutine.yield) })
    assert.same({ "running", true, false }, lilac.gather({ function()
      local own, own_is_main = coroutine.running()
      return { coroutine.status(own), own_is_main, coroutine.isyieldable() }
    end })[1])
  end)
end)

describe("coroutine.running, status and isyieldable", function()
  it("say the same before and after an await", function()
    local co
    co = coroutine.create(function()
      local function check()
        local running, is_main = coroutine.running()
        assert.equal(co, running)
        assert.is_false(is_main)
        assert.equal("running", coroutine.status(co))
        assert.is_true(coroutine.isyieldable())
      end
      check()
      lilac.sleep(0)
      check()
      coroutine.wrap(function()
        lilac.sleep(0)
        assert.equal("normal", coroutine.status(co))
      end)()
      check()
    end)
    assert.same({ true }, { coroutine.resume(co) })
  end)

  it("refuse what is no coroutine", function()
    for _, name in ipairs { "resume", "status", "close", "isyieldable" } do
      local ok, err = pcall(coroutine[name], 1)
      assert.is_false(ok)
      assert.matches("^bad argument #1 to '.*" .. name .. "' %(thread expected, got number%)$", err)
    end
    assert.is_false((pcall(coroutine.create, 1)))
    assert.is_false((pcall(coroutine.wrap)))
  end)
end)

describe("coroutine.close", function()
  it("runs <close> variables that await, then the coroutine is dead", function()
    local log = {}
    local co = coroutine.create(function()
      local _ <close> = guard(log, "a")
      local _ <close> = guard(log, "b")
      coroutine.yield()
    end)
    coroutine.resume(co)
    assert.same({ n = 1, true }, table.pack(coroutine.close(co)))
    assert.same({ "b nil", "a nil" }, log)
    assert.equal("dead", coroutine.status(co))
    assert.same({ n = 1, true }, table.pack(coroutine.close(co)))
  end)

  it("passes by every pcall that the coroutine is in", function()
    local log = {}
    local co = coroutine.create(function()
      pcall(function()
        local _ <close> = guard(log, "in")
        coroutine.yield()
      end)
      log[#log + 1] = "not reached"
    end)
    coroutine.resume(co)
    assert.is_true(coroutine.close(co))
    assert.same({ "in nil" }, log)
  end)

  it("returns the error of a <close> variable, once", function()
    local co = coroutine.create(function()
      local _ <close> = setmetatable({}, { __close = function()
        lilac.sleep(0)
        error("unclean", 0)
      end })
      coroutine.yield()
    end)
    coroutine.resume(co)
    assert.same({ false, "unclean" }, { coroutine.close(co) })
    assert.same({ n = 1, true }, table.pack(coroutine.close(co)))
  end)

  it("returns the error that the coroutine died of, once", function()
    local co = coroutine.create(error)
    coroutine.resume(co, "e")
    assert.same({ false, "e" }, { coroutine.close(co) })
    assert.same({ n = 1, true }, table.pack(coroutine.close(co)))
  end)

  it("closes one that has not begun", function()
    local co = coroutine.create(print)
    assert.is_true(coroutine.close(co))
    assert.equal("dead", coroutine.status(co))
  end)

  it("refuses a running one", function()
    assert.same({ false, "cannot close a running coroutine" },
      { pcall(coroutine.close, (coroutine.running())) })
    coroutine.wrap(function()
      assert.is_false((pcall(coroutine.close, (coroutine.running()))))
    end)()
  end)

  it("does not let the coroutine yield any more", function()
    local co = coroutine.create(function()
      local _ <close> = setmetatable({}, { __close = function() coroutine.yield() end })
      coroutine.yield()
    end)
    coroutine.resume(co)
    local ok, err = coroutine.close(co)
    assert.is_false(ok)
    assert.matches("attempt to yield across a C%-call boundary", err)
  end)
end)

describe("a cancellation in a coroutine", function()
  it("unwinds all coroutines of the task from the innermost; their handlers may await", function()
    local log = {}
    local task = settle.start(function()
      local _ <close> = guard(log, "task")
      coroutine.wrap(function()
        local _ <close> = guard(log, "outer")
        coroutine.wrap(function()
          local _ <close> = guard(log, "inner")
          lilac.sleep(99)
        end)()
      end)()
    end)
    task:cancel()
    lilac.wait { task }
    assert.is_true(task:cancelled())
    for i, name in ipairs { "inner", "outer", "task" } do
      assert.matches("^" .. name .. " CancelledError", log[i])
    end
  end)

  it("is not caught by coroutine.resume", function()
    local after = false
    local task = settle.start(function()
      coroutine.resume(coroutine.create(function() lilac.sleep(99) end))
      after = true
    end)
    task:cancel()
    lilac.wait { task }
    assert.is_true(task:cancelled())
    assert.is_false(after)
  end)

  it("of a scope in a coroutine is absorbed there", function()
    local finished = coroutine.wrap(function()
      return (lilac.move_on_after(1e-3, lilac.sleep, 99))
    end)()
    assert.is_false(finished)
  end)
end)

describe("coroutines without end", function()
  it("are an error, and no crash", function()
    local function nest() return coroutine.wrap(nest)() end
    local ok, err = pcall(nest)
    assert.is_false(ok)
    assert.matches("C stack overflow", err)
    local function resume() return select(2, coroutine.resume(coroutine.create(resume))) end
    assert.matches("C stack overflow", resume())
  end)

  it("come half as far as in stock Lua", function()
    local function nest(n) return n == 0 and 0 or 1 + coroutine.wrap(nest)(n - 1) end
    assert.equal(70, nest(70))
    assert.is_false((pcall(nest, 100)))
  end)

  it("may await just before that", function()
    local depth = 0
    local function nest()
      depth = depth + 1
      lilac.sleep(0)
      if depth < 150 then return coroutine.wrap(nest)() end
      return depth
    end
    assert.equal(150, nest())
  end)
end)
