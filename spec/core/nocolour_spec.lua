-- No colours: an await works in any Lua function, wherever it is called from; where Lua cannot
-- suspend, the error says what is in the way, also when it would not have had to wait.

-- luacheck: ignore 512 (loops that are left at once)

local lilac = require "lilac"
local raises = require "spec.support.raises"

-- Awaits and returns its arguments; counts.
local awaits = 0
local function await(...)
  lilac.sleep(awaits % 2 == 0 and 0 or 1e-6)
  awaits = awaits + 1
  return ...
end

-- Checks that fn really awaited: others have run meanwhile (not all of them, when shuffled).
local function awaiting(fn, ...)
  local before, other = awaits, false
  lilac.create_task(function() other = true end)
  local results = table.pack(fn(...))
  assert.is_true(awaits > before)
  assert.is_true(other or os.getenv "LILAC_SHUFFLE" ~= nil)
  return table.unpack(results, 1, results.n)
end

describe("an await", function()
  it("works inside pcall, in the function and under it", function()
    assert.same({ true, 1, nil, 3 }, { awaiting(pcall, await, 1, nil, 3) })
    assert.same({ false, "e" }, { awaiting(pcall, function() await() error("e", 0) end) })
    assert.same({ true, true, 5 }, { awaiting(pcall, pcall, await, 5) })
  end)

  it("works inside xpcall, whose handler sees the error and the stack at its throw", function()
    assert.same({ true, 1, 2 }, { awaiting(xpcall, await, print, 1, 2) })
    local ok, text = awaiting(xpcall, function() await() error "thrown" end, debug.traceback)
    assert.is_false(ok)
    assert.matches("thrown\nstack traceback:\n\t%[C%]: in function 'error'\n", text)
  end)

  it("works inside every metamethod of an operator", function()
    local meta = {}
    local t = setmetatable({}, meta)
    for _, event in ipairs { "add", "sub", "mul", "div", "mod", "pow", "unm", "idiv", "band", "bor",
      "bxor", "shl", "shr", "bnot", "concat", "len", "eq", "lt", "le", "index", "call" } do
      meta["__" .. event] = function() return await(event == "eq" or event) end
    end
    awaiting(function()
      assert.equal("add", t + 1)
      assert.equal("sub", 1 - t)
      assert.equal("mul", t * t)
      assert.equal("div", t / 2)
      assert.equal("mod", t % 2)
      assert.equal("pow", t ^ 2)
      assert.equal("unm", -t)
      assert.equal("idiv", t // 2)
      assert.equal("band", t & 1)
      assert.equal("bor", t | 1)
      assert.equal("bxor", t ~ 1)
      assert.equal("shl", t << 1)
      assert.equal("shr", t >> 1)
      assert.equal("bnot", ~t)
      assert.equal("concat", t .. "x")
      assert.equal("aconcat", "a" .. "b" .. t)
      assert.equal("len", #t)
      assert.is_true(t == setmetatable({}, meta))
      assert.is_true(t < 1)
      assert.is_true(t >= 1)
      assert.equal("index", t.x)
      assert.equal("call", t(1))
    end)
    local set_to
    meta.__newindex = function(_, key, value) set_to = { key, await(value) } end
    awaiting(function() t.k = 5 end)
    assert.same({ "k", 5 }, set_to)
  end)

  it("works inside the iterator of a generic for, and in __pairs", function()
    local seen = {}
    awaiting(function()
      for i in function(_, i) return await((i or 0) < 3 and (i or 0) + 1 or nil) end do
        seen[#seen + 1] = i
      end
      local paired = setmetatable({}, { __pairs = function() return await(next, { a = 1 }) end })
      for key in pairs(paired) do seen[#seen + 1] = key end
    end)
    assert.same({ 1, 2, 3, "a" }, seen)
  end)

  it("works inside a __close handler at the normal end, after break and after return", function()
    local log = {}
    local function guard(name)
      return setmetatable({}, { __close = function(_, err)
        local text = await(name)
        log[#log + 1] = text .. tostring(err)
      end })
    end
    awaiting(function()
      do local _ <close> = guard "a" end
      for _ = 1, 2 do
        local _ <close> = guard "b"
        break
      end
    end)
    local one, two = awaiting(function()
      local _ <close> = guard "c"
      return 1, 2
    end)
    assert.same({ "anil", "bnil", "cnil" }, log)
    assert.same({ 1, 2 }, { one, two })
  end)

  it("works inside a __close handler while an error unwinds", function()
    local log = {}
    local function guard()
      return setmetatable({}, { __close = function(_, err)
        await()
        log[#log + 1] = err
      end })
    end
    local ok, err = awaiting(pcall, function()
      local _ <close> = guard()
      local _ <close> = guard()
      error("e", 0)
    end)
    assert.same({ false, "e" }, { ok, err })
    assert.same({ "e", "e" }, log)
  end)

  it("works inside a __close handler while a cancellation unwinds", function()
    local log = {}
    local task = lilac.create_task(function()
      local _ <close> = setmetatable({}, { __close = function(_, err)
        await()
        log[#log + 1] = err.name
      end })
      pcall(lilac.sleep, 9)
      log[#log + 1] = "not caught"
    end)
    lilac.sleep(0.001)
    task:cancel()
    lilac.wait { task }
    assert.is_true(task:cancelled())
    assert.same({ "CancelledError" }, log)
  end)

  it("works inside dofile, load and a tail call", function()
    local path = os.tmpname()
    local file = io.open(path, "w")
    file:write "require 'lilac'.sleep(1e-6) return 1, ..."
    file:close()
    assert.equal(1, dofile(path))
    os.remove(path)
    assert.equal(7, awaiting(load("local await = ... return await(7)"), await))
    assert.equal(8, awaiting(function() return (function() return await(8) end)() end))
  end)

  it("works inside require, in the module and in the searcher", function()
    package.preload["spec.nocolour"] = function(name) return await(name) end
    assert.equal("spec.nocolour", awaiting(require, "spec.nocolour"))
    package.preload["spec.nocolour"], package.loaded["spec.nocolour"] = nil, nil
  end)

  it("works through select, assert, next and io.lines", function()
    assert.equal(2, awaiting(function() return select(2, await(1, 2)) end))
    assert.equal(1, awaiting(function() return assert(await(1)) end))
    awaiting(function()
      for _ in io.lines "Makefile" do
        await()
        break
      end
    end)
  end)

  it("works in the body of a for whose iterator is C: string.gmatch, lfs.dir", function()
    local words = {}
    awaiting(function()
      for word in ("a b"):gmatch "%a" do words[#words + 1] = await(word) end
      for _ in require "lfs".dir "." do await() break end
    end)
    assert.same({ "a", "b" }, words)
  end)
end)

-- What raises, given a function that awaits: → what is named.
local OBSTACLES = {
  ["'table.sort'"] = function(fn) table.sort({ 3, 2, 1 }, function(a, b) fn() return a < b end) end,
  ["'string.gsub'"] = function(fn) return (string.gsub("abc", ".", fn)) end,
  ["'tostring'"] = function(fn) return tostring(setmetatable({}, { __tostring = fn })) end,
  ["'print'"] = function(fn) print(setmetatable({}, { __tostring = fn })) end,
  ["'string.format'"] = function(fn)
    return ("%s"):format(setmetatable({}, { __tostring = fn }))
  end,
  ["'table.concat'"] = function(fn)
    return table.concat(setmetatable({}, { __index = fn, __len = function() return 2 end }))
  end,
  ["'table.unpack'"] = function(fn)
    return table.unpack(setmetatable({}, { __index = fn, __len = function() return 2 end }))
  end,
  ["'table.insert'"] = function(fn) table.insert(setmetatable({}, { __newindex = fn }), 1) end,
  ["'load'"] = function(fn)
    local chunk, err = load(fn)
    if not chunk then error(err, 0) end
  end,
  ["an iterator in C %(as that of ipairs%)"] = function(fn)
    for _ in ipairs(setmetatable({}, { __index = fn })) do break end
  end,
  ["'lpeg.match'"] = function(fn)
    local lpeg = require "lpeg"
    return lpeg.match(lpeg.Cmt(lpeg.P(1), fn), "abc")
  end,
  ["a debug hook"] = function(fn)
    local ok, err
    debug.sethook(function()
      debug.sethook()
      ok, err = pcall(fn)
    end, "l")
    local _ = 1
    if not ok then error(err, 0) end
  end,
  ["a finaliser %(__gc%)"] = function(fn)
    local ok, err
    setmetatable({}, { __gc = function() ok, err = pcall(fn) end })
    collectgarbage()
    collectgarbage()
    if not ok then error(err, 0) end
  end,
  ["a message handler of xpcall"] = function(fn)
    local _, err = xpcall(error, function() return fn() end, "e")
    error(err, 0)
  end,
}

-- Awaits that have nothing to wait for.
local function nothing_to_wait_for()
  local event, queue = lilac.Event(), lilac.Queue()
  event:set()
  queue:put(1)
  local task = lilac.create_task(function() end)
  task:await()
  return {
    ["sleep(0)"] = function() lilac.sleep(0) end,
    ["Event:wait"] = function() event:wait() end,
    ["Queue:get"] = function() queue:get() end,
    ["Queue:put"] = function() queue:put(1) end,
    ["Lock:acquire"] = function() lilac.Lock():acquire() end,
    ["Task:await"] = function() task:await() end,
  }
end

for name, call in pairs(OBSTACLES) do
  describe("where Lua cannot suspend: " .. name:gsub("%%", "") .. ",", function()
    it("an await is an error that names it", function()
      local err = raises("InvalidStateError", call, function() lilac.sleep(0.001) end)
      assert.matches("^InvalidStateError: sleep: cannot await inside " .. name
        .. ", which Lua cannot suspend", tostring(err))
    end)

    it("it is one also when it need not wait", function()
      for what, fn in pairs(nothing_to_wait_for()) do
        local ok, err = pcall(call, fn)
        assert.is_false(ok, what)
        assert.matches("cannot await inside " .. name, tostring(err), nil, nil, what)
      end
    end)

    it("it is one in a coroutine, too, on either side of it", function()
      local function sleep() lilac.sleep(0) end
      raises("InvalidStateError", coroutine.wrap(call), sleep)
      local err = raises("InvalidStateError", call, function() coroutine.wrap(sleep)() end)
      assert.matches("cannot await inside " .. name, tostring(err))
    end)

    it("what does not await is fine", function()
      local ok, err = pcall(call, function() end)
      assert.is_false(not ok and lilac.errors.is(err, "InvalidStateError"))
    end)
  end)
end

describe("what is in the way far below", function()
  it("is found, and needs no more of the stack for that", function()
    local function below(levels)
      if levels == 0 then return lilac.sleep(0) end
      return pcall(below, levels - 1)
    end
    local found
    table.sort({ 1, 2 }, coroutine.wrap(function()
      found = { below(60) }
      return false
    end))
    assert.matches("cannot await inside 'table.sort'", tostring(found[#found]))
  end)
end)

describe("a message handler of xpcall that awaits", function()
  it("leaves xpcall with the error that says so, for errors of any origin", function()
    for _, fn in ipairs { error, function() local _ = nil + 1 end, function() error {} end } do
      local ok, err = xpcall(fn, function() lilac.sleep(0) end)
      assert.is_false(ok)
      assert.equal("InvalidStateError", err.name)
    end
  end)

  it("may catch that, and go on", function()
    local _, text = xpcall(error, function(err)
      local ok = pcall(lilac.sleep, 0)
      return ("%s %s"):format(err, ok)
    end, "e")
    assert.equal("e false", text)
  end)

  it("does not hinder the handlers of xpcalls around it", function()
    local handled = {}
    local ok, err = xpcall(function()
      xpcall(error, function() lilac.sleep(0) end, "inner")
      error("outer", 0)
    end, function(e)
      handled[#handled + 1] = e
      return "handled"
    end)
    assert.same({ false, "handled" }, { ok, err })
    assert.same({ "outer" }, handled)
  end)
end)

describe("a callback", function()
  it("cannot await, and says what to do", function()
    local err
    lilac.call_soon(function() err = select(2, pcall(lilac.sleep, 0)) end)
    lilac.sleep(0.001)
    assert.equal("InvalidStateError: sleep: cannot await in a callback; "
      .. "let it start a task with create_task", tostring(err))
  end)
end)
