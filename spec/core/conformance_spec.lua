-- Where lilac takes the place of a part of stock Lua, it behaves as that does. Each `it` pins
-- something that was otherwise once, or easily could be. More of it: the specs of base, coroutine,
-- debug and the loader; what differs on purpose: docs/lua-differences.md.

local run = require "spec.support.child"

local function output(source, options)
  options = options or {}
  options.limit = 20
  local child = run(source, options)
  assert.equal("", child.stderr)
  return child.stdout
end

describe("main", function()
  it("is a main chunk, called from C, and nothing else", function()
    assert.equal([[
main C nil
stack traceback:
	script.lua:4: in main chunk
	[C]: in ?
]], (output([[
local function what(level) return (debug.getinfo(level + 1, "S") or {}).what end
print(what(1) .. " " .. what(2) .. " " .. tostring(what(3)))
local _
print(debug.traceback())]]):gsub("/tmp/[^:]*:", "script.lua:")))
  end)

  it("is the main coroutine: not yieldable, not to be resumed", function()
    assert.equal("true\tfalse\tfalse\tfalse\n", output [[
      local co, is_main = coroutine.running()
      print(is_main, coroutine.isyieldable(), (coroutine.resume(co)), (pcall(coroutine.yield)))]])
  end)

  it("runs its finalisers at the end, last made first, and warns of their errors", function()
    local child = run([[
      X = setmetatable({}, { __gc = function() print "X" end })
      Y = setmetatable({}, { __gc = function() error("Y", 0) end })
      Z = setmetatable({}, { __gc = function() print "Z" end })]], { options = "-W" })
    assert.equal("Z\nX\n", child.stdout)
    assert.equal("Lua warning: error in __gc (Y)\n", (child.stderr:gsub("__gc metamethod", "__gc")))
    assert.equal(0, child.status)
  end)

  it("leaves no file unwritten", function()
    local path = os.tmpname()
    output(("io.output(%q) io.write 'text'"):format(path))
    local file = io.open(path)
    assert.equal("text", file:read "a")
    file:close()
    os.remove(path)
  end)

  it("never closes the variables of a coroutine that is only collected", function()
    assert.equal("end\n", output [[
      coroutine.wrap(function()
        local _ <close> = setmetatable({}, { __close = function() print "closed" end })
        coroutine.yield()
      end)()
      collectgarbage()
      collectgarbage()
      print "end"]])
  end)
end)

describe("pcall and xpcall", function()
  it("stand as the caller of a <close> handler while an error unwinds", function()
    local caller
    pcall(function()
      local _ <close> = setmetatable({}, { __close = function()
        caller = debug.getinfo(2, "nS")
      end })
      error "e"
    end)
    assert.equal("C", caller.what)
    assert.equal("pcall", caller.name)
  end)

  it("survive errors of errors, and stack overflows of the handler", function()
    local ok, err = xpcall(error, error)
    assert.same({ false, "string" }, { ok, type(err) })
    local function loop() return 1 + loop() end
    ok, err = xpcall(loop, loop)
    assert.is_false(ok)
    assert.matches("error in error handling", tostring(err))
    ok, err = xpcall(loop, function(message)
      assert(message:find "stack overflow")
      assert(not pcall(loop))
      return 15
    end)
    assert.same({ false, 15 }, { ok, err })
  end)

  it("nest as deep as C allows, and then fail as errors do", function()
    local depth = 0
    local function nest()
      depth = depth + 1
      local results = table.pack(pcall(nest))
      return table.unpack(results, 1, results.n)
    end
    local results = table.pack(nest())
    assert.is_false(results[results.n - 1])
    assert.matches("stack overflow", results[results.n])
    assert.is_true(depth > 150 and depth < 250)
  end)

  it("keep a yield in a <close> handler, in its order, for results and errors", function()
    local function body(fail)
      local function guard(name)
        return setmetatable({}, { __close = function(_, err)
          coroutine.yield(name, err)
          if fail and name == "b" then error("b!", 0) end
        end })
      end
      return pcall(function()
        local _ <close> = guard "a"
        local _ <close> = guard "b"
        return 1, 2
      end)
    end
    local co = coroutine.wrap(body)
    assert.same({ n = 2, "b", nil }, table.pack(co(false)))
    assert.same({ n = 2, "a", nil }, table.pack(co()))
    assert.same({ n = 3, true, 1, 2 }, table.pack(co()))
    co = coroutine.wrap(body)
    assert.same({ n = 2, "b", nil }, table.pack(co(true)))
    assert.same({ n = 2, "a", "b!" }, table.pack(co()))
    assert.same({ n = 2, false, "b!" }, table.pack(co()))
  end)

  it("are named in error messages as what they are", function()
    assert.matches("bad argument #1 to 'pcall' %(value expected%)", select(2, pcall(pcall)))
    assert.matches("'table%.sort'", select(2, pcall(load "table.sort({1, 2, 3}, table.sort)")))
  end)
end)

describe("the C stack", function()
  it("overflows with an error in every kind of nesting", function()
    local function check(fn)
      local ok, err = pcall(fn)
      assert.is_false(ok)
      assert.matches("stack overflow", tostring(err))
    end
    local function gsub() return string.gsub("a", ".", gsub) end
    check(gsub)
    local function wrap() return (coroutine.wrap(wrap)()) end
    check(wrap)
    local function recovered()
      pcall(1)
      return (coroutine.wrap(recovered)())
    end
    check(recovered)
    local meta = {}
    function meta.__index(t, k) return t[k .. "x"] end
    check(function() return setmetatable({}, meta).x end)
    local function close() local _ <close> = setmetatable({}, { __close = close }) end
    check(close)
    local depth = 0
    local function search()
      depth = depth + 1
      return require("spec.recursive" .. depth)
    end
    table.insert(package.searchers, 1, search)
    local ok, err = pcall(search)
    table.remove(package.searchers, 1)
    assert.is_false(ok)
    assert.matches("stack overflow", err)
  end)

  it("overflows with an error when coroutines that have yielded resume each other", function()
    local function body()
      coroutine.yield()
      local next = coroutine.wrap(body)
      next()
      next()
    end
    local first = coroutine.wrap(body)
    first()
    assert.is_false((pcall(first)))
  end)

  it("serves again afterwards", function()
    local function nest() return (coroutine.wrap(nest)()) end
    for _ = 1, 5 do assert.is_false((pcall(nest))) end
    assert.equal(1, coroutine.wrap(function() return 1 end)())
  end)
end)

describe("a coroutine", function()
  it("cannot yield across what Lua cannot suspend", function()
    local ok, err = coroutine.resume(coroutine.create(function()
      table.sort({ 1, 2, 3 }, coroutine.yield)
    end))
    assert.is_false(ok)
    assert.equal("attempt to yield across a C-call boundary", err)
    assert.is_nil(coroutine.wrap(function() return load(coroutine.yield) end)())
  end)

  it("is not yieldable inside string.gsub, and is again after it", function()
    local inside, after
    coroutine.wrap(function()
      string.gsub("a", ".", function() inside = coroutine.isyieldable() end)
      after = coroutine.isyieldable()
    end)()
    assert.same({ false, true }, { inside, after })
  end)

  it("refuses more values than fit", function()
    local many = coroutine.create(function() return table.unpack({}, 1, 1e6) end)
    local ok, err = coroutine.resume(many)
    assert.is_false(ok)
    assert.matches("too many results", err)
    local co = coroutine.create(function(...) return select("#", ...) end)
    ok, err = pcall(coroutine.resume, co, table.unpack({}, 1, 900000))
    assert.is_true(not ok or type(err) == "boolean")
  end)

  it("closes variables with an error that a <close> handler makes worse", function()
    local log = {}
    local co = coroutine.wrap(function()
      local _ <close> = setmetatable({}, { __close = function(_, err)
        log[#log + 1] = err
        error("second", 0)
      end })
      local _ <close> = setmetatable({}, { __close = function() error("first", 0) end })
      coroutine.yield(1)
      error("zeroth", 0)
    end)
    assert.equal(1, co())
    local ok, err = pcall(co)
    assert.same({ false, "second", "first" }, { ok, err, log[1] })
  end)

  it("can be resumed from its own <close> handler as little as from itself", function()
    local co
    co = coroutine.wrap(function()
      local _ <close> = setmetatable({}, { __close = function() return pcall(co) end })
      error(111)
    end)
    assert.same({ false, 111 }, { pcall(co) })
    local ok, err = pcall(co)
    assert.is_false(ok)
    assert.matches("dead coroutine", err)
  end)
end)

describe("hooks", function()
  it("see returns in the order in which <close> handlers run", function()
    assert.equal("sethook close x close foo \n", output [[
      local trace = ""
      local function guard(fn) return setmetatable({}, { __close = fn }) end
      local function hook() trace = trace .. debug.getinfo(2, "n").name .. " " end
      local function foo()
        local _ <close> = guard(function() trace = trace .. "x " end)
        local _ <close> = guard(function() debug.sethook(hook, "r") end)
      end
      foo()
      debug.sethook()
      print(trace)]])
  end)

  it("see what is passed to functions and what they return", function()
    assert.equal("3\t4\n", output [[
      local passed, returned
      local on = false
      debug.sethook(function(event)
        if not on then return end
        local info = debug.getinfo(2, "r")
        local _, value = debug.getlocal(2, info.ftransfer)
        if event == "return" then returned = value else passed = value end
      end, "cr")
      on = true math.abs(3) on = false
      debug.sethook()
      print(passed, returned + 1)]])
  end)
end)
