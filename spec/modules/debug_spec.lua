-- debug.*: the stock library, in which what lilac puts under coroutines and tasks is not seen.

local lilac = require "lilac"
local settle = require "spec.support.settle"

-- The lines of a traceback below its heading.
local function lines_of(text)
  local lines = {}
  for line in text:gmatch "\n\t([^\n]*)" do lines[#lines + 1] = line end
  return lines
end

local function check_lines(patterns, text)
  local lines = lines_of(text)
  assert.equal(#patterns, #lines, text)
  for i, pattern in ipairs(patterns) do assert.matches(pattern, lines[i]) end
end

local function depth(n)
  if n > 0 then depth(n - 1) else coroutine.yield() end
  return n
end

local HERE = "debug_spec"

describe("debug.setmetatable, debug.setuservalue and debug.getuservalue", function()
  it("leave lilac's objects as they are, and what they have to themselves", function()
    local stream <close> = lilac.testing.stream_pair()
    for what, object in pairs {
      ["a Task"] = lilac.current_task(), ["a Future"] = lilac.Future(),
      ["an Event"] = lilac.Event(), ["a Queue"] = lilac.Queue(), ["a Stream"] = stream,
      ["a Condition"] = lilac.Condition(), ["a ContextVar"] = lilac.ContextVar "x",
    } do
      local meta = debug.getmetatable(object)
      assert.error_matches(function() debug.setmetatable(object, nil) end,
        ("bad argument #1 to 'setmetatable' %%(%s keeps its metatable%%)"):format(what))
      assert.equal(meta, debug.getmetatable(object))
      assert.error_matches(function() debug.setuservalue(object, "x", 1) end,
        ("bad argument #1 to 'setuservalue' %%(%s keeps its user values%%)"):format(what))
      assert.is_nil((debug.getuservalue(object, 1)))
    end
  end)

  it("change others", function()
    local file <close> = io.tmpfile()
    local meta = debug.getmetatable(file)
    assert.equal(file, debug.setmetatable(file, { __index = { x = 1 } }))
    assert.equal(1, file.x)
    debug.setmetatable(file, meta)
    assert.is_nil(debug.setuservalue(file, 1))
  end)
end)

describe("debug.getlocal and debug.setlocal", function()
  it("leave a C function that waits what is on its stack", function()
    local queue = lilac.Queue()
    local task = settle.start(function() return queue:get() end)
    local co
    local inside = settle.start(function()
      co = coroutine.create(function() return queue:get() end)
      return select(2, coroutine.resume(co))
    end)
    assert.is_nil(debug.getlocal(co, 0, 1))
    assert.is_nil(debug.setlocal(co, 0, 1, nil))
    queue:put(1)
    queue:put(2)
    assert.equal(1, task:await())
    assert.equal(2, inside:await())
  end)

  it("get and set the variables of a Lua function", function()
    local x = 1
    assert.same({ "x", 1 }, { debug.getlocal(1, 1) })
    assert.equal("x", debug.setlocal(1, 1, 2))
    assert.equal(2, x)
  end)
end)

describe("debug.traceback of a coroutine", function()
  it("shows its functions and no more, from any level", function()
    local co = coroutine.create(depth)
    coroutine.resume(co, 2)
    check_lines({ "yield", HERE, HERE, HERE }, debug.traceback(co))
    check_lines({ HERE, HERE, HERE }, debug.traceback(co, nil, 1))
    check_lines({ HERE }, debug.traceback(co, nil, 3))
    check_lines({}, debug.traceback(co, nil, 4))
    check_lines({}, debug.traceback(co, nil, 40))
    check_lines({}, debug.traceback(co, nil, -1))
  end)

  it("is the heading alone before it has begun, and after it has returned", function()
    local co = coroutine.create(function() end)
    assert.equal("stack traceback:", debug.traceback(co))
    coroutine.resume(co)
    assert.equal("m\nstack traceback:", debug.traceback(co, "m"))
  end)

  it("shows where it died of an error, from any level", function()
    local function fail(n) if n == 0 then error "e" else fail(n - 1) return end end
    local co = coroutine.create(function() fail(1) return end)
    assert.is_false((coroutine.resume(co)))
    check_lines({ "'error'", HERE, HERE, HERE }, debug.traceback(co))
    check_lines({ HERE, HERE }, debug.traceback(co, "message", 2))
    check_lines({}, debug.traceback(co, nil, 4))
  end)

  it("shows where it awaits", function()
    local co
    local go_on = lilac.Event()
    local task = settle.start(function()
      co = coroutine.create(function()
        go_on:wait()
        return 1
      end)
      coroutine.resume(co)
    end)
    check_lines({ "'wait'", HERE }, debug.traceback(co))
    go_on:set()
    task:await()
  end)

  it("skips levels in the middle of a deep one, as the stock function does", function()
    local co = coroutine.create(depth)
    coroutine.resume(co, 40)
    local lines = lines_of(debug.traceback(co))
    assert.equal(22, #lines)
    assert.equal("...\t(skipping 20 levels)", lines[11])
    for i = 12, 22 do assert.matches(HERE, lines[i]) end
    co = coroutine.create(depth)
    coroutine.resume(co, 20)
    assert.equal(22, #lines_of(debug.traceback(co)))
    assert.is_nil(debug.traceback(co):find "skipping")
  end)
end)

describe("debug.traceback of what runs", function()
  it("ends with the body of the coroutine, or of the task", function()
    local function trace()
      local text = debug.traceback("m", 1)
      return text
    end
    for _, text in ipairs { coroutine.wrap(trace)(), lilac.create_task(trace):await() } do
      check_lines({ HERE }, text)
      assert.matches("^m\nstack traceback:\n", text)
    end
  end)

  it("names itself at level 0", function()
    assert.matches("^stack traceback:\n\t%[C%]: in function 'debug.traceback'\n",
      debug.traceback(nil, 0))
  end)

  it("returns any message that is no string as it is", function()
    assert.equal(print, debug.traceback(print))
    assert.equal(print, debug.traceback(print, 4))
    assert.matches("^1\nstack", debug.traceback(1))
  end)
end)

describe("levels", function()
  it("count the functions of a coroutine alone", function()
    local co = coroutine.create(depth)
    coroutine.resume(co, 1)
    local whats = {}
    for level = 0, 9 do
      local info = debug.getinfo(co, level, "S")
      whats[#whats + 1] = info and info.what
    end
    assert.same({ "C", "Lua", "Lua" }, whats)
    assert.is_nil(debug.getinfo(co, 3))
  end)

  it("count those of what runs alone, and are not shifted", function()
    local function whats()
      local seen, level = {}, 1
      while debug.getinfo(level, "S") do
        seen[level] = debug.getinfo(level, "S").what
        level = level + 1
      end
      return seen
    end
    local function body()
      local seen = whats()
      return seen
    end
    assert.same({ "Lua", "Lua" }, coroutine.wrap(body)())
    assert.same({ "Lua", "Lua" }, lilac.create_task(body):await())
    assert.equal(debug.getinfo, debug.getinfo(0, "f").func)
    assert.equal("named", coroutine.wrap(function()
      local function named() return debug.getinfo(1, "n").name, 1 end
      local name = named()
      return name
    end)())
  end)

  it("give locals of a coroutine, and none beyond its functions", function()
    local co = coroutine.create(function(x)
      local y = x + 1
      coroutine.yield()
      return x, y
    end)
    coroutine.resume(co, 10)
    assert.same({ "x", 10 }, { debug.getlocal(co, 1, 1) })
    assert.same({ "y", 11 }, { debug.getlocal(co, 1, 2) })
    assert.equal("y", debug.setlocal(co, 1, 2, 20))
    assert.is_false((pcall(debug.getlocal, co, 2, 1)))
    assert.is_false((pcall(debug.setlocal, co, 2, 1, 1)))
    assert.same({ true, 10, 20 }, { coroutine.resume(co) })
    assert.same({ "x" }, { debug.getlocal(depth and function(x) return x end, 1) })
  end)

  it("are refused as the stock functions refuse them", function()
    assert.matches("bad argument #1 to '.*getlocal' %(level out of range%)",
      select(2, pcall(debug.getlocal, 99, 1)))
    assert.matches("bad argument #2 to '.*getinfo' %(invalid option%)",
      select(2, pcall(debug.getinfo, 1, "X")))
    assert.is_nil(debug.getinfo(-1))
    assert.is_nil(debug.getinfo(1000))
  end)
end)

describe("a hook of a coroutine", function()
  local yield, abs, sethook = coroutine.yield, math.abs, debug.sethook -- globals are busted's here

  it("sees its functions and no more, and stays set", function()
    local events = {}
    local co = coroutine.create(function()
      yield(10)
      return 20
    end)
    local function hook(event) events[#events + 1] = event end
    debug.sethook(co, hook, "clr")
    coroutine.resume(co)
    coroutine.resume(co)
    assert.same({ "call", "line", "call", "return", "line", "return" }, events)
    assert.same({ hook, "crl", 0 }, { debug.gethook(co) })
    assert.is_nil((debug.gethook()))
  end)

  it("works when the coroutine sets it itself", function()
    local events = {}
    coroutine.wrap(function()
      sethook(function(event) events[#events + 1] = event end, "r")
      abs(1)
    end)()
    assert.same({ "return", "return", "return" }, events) -- of sethook, abs and the body
  end)

  it("goes on when it awaits", function()
    local lines = 0
    local sleep = lilac.sleep
    local co = coroutine.create(function()
      sleep(0)
      sleep(0)
    end)
    debug.sethook(co, function() lines = lines + 1 end, "l")
    coroutine.resume(co)
    assert.equal(3, lines)
  end)
end)
