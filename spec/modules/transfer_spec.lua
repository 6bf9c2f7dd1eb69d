-- What travels between Lua states, there and back again.

local lilac = require "lilac"
local run = require "spec.support.child"

local to_thread = lilac.to_thread

local function echo(...) return ... end

local function round_trip(...) return to_thread(echo, ...) end

-- Why the value cannot be sent.
local function refusal(...)
  local ok, err = pcall(to_thread, ...)
  assert.is_false(ok)
  return (err:gsub("^.-to_thread: ", ""):gsub(" cannot be sent to another thread$", ""))
end

describe("values that travel", function()
  it("are nil, booleans and numbers, with their types", function()
    local values = table.pack(round_trip(nil, true, false, 0, -1, math.maxinteger,
      math.mininteger, 0.5, -0.0, 1 / 0, 2 ^ 53, 3.0, nil))
    assert.equal(13, values.n)
    assert.same({ nil, true, false, 0, -1, math.maxinteger, math.mininteger, 0.5, -0.0, 1 / 0,
      2 ^ 53, 3.0, nil, n = 13 }, values)
    assert.equal("integer", math.type(values[4]))
    assert.equal("float", math.type(values[12]))
    local nan = round_trip(0 / 0)
    assert.is_true(nan ~= nan)
  end)

  it("are strings of any bytes and any length", function()
    for _, length in ipairs { 0, 1, 254, 255, 256, 4096, 100000, 10000000 } do
      local text = ("a\0\xff"):rep(length // 3 + 1):sub(1, length)
      assert.is_true(round_trip(text) == text, length)
    end
  end)

  it("are tables of any shape", function()
    local list = { 1, nil, 3, x = { y = { z = "deep" } }, [1.5] = true, [true] = 2 }
    assert.same(list, (round_trip(list)))
    assert.same({}, (round_trip {}))
  end)

  it("keep what is shared, and circles", function()
    local shared, circle = { "shared" }, {}
    circle.self, circle[circle] = circle, "key"
    local a, b, c = round_trip({ shared, shared }, shared, circle)
    assert.is_true(rawequal(a[1], a[2]) and rawequal(a[1], b))
    assert.is_true(rawequal(c.self, c))
    assert.equal("key", c[c])
  end)

  it("are tables of any depth and of many fields", function()
    local deep = {}
    for _ = 1, 1000000 do deep = { deep } end
    local depth = to_thread(function(at)
      local count = 0
      while at[1] do at, count = at[1], count + 1 end
      return count
    end, deep)
    assert.equal(1000000, depth)
    local wide = {}
    for i = 1, 100000 do wide[i], wide["k" .. i] = i, { i } end
    wide = round_trip(wide)
    assert.equal(100000, #wide)
    assert.same({ 77777 }, wide.k77777)
  end)

  it("keep their metatables, and those what they share", function()
    local Point = {}
    Point.__index = Point
    function Point.__add(a, b) return setmetatable({ x = a.x + b.x }, Point) end
    function Point:double() return self + self end
    local sum = to_thread(function(a, b) return (a + b):double().x end,
      setmetatable({ x = 1 }, Point), setmetatable({ x = 2 }, Point))
    assert.equal(6, sum)
    local a, b = round_trip(setmetatable({}, Point), setmetatable({}, Point))
    assert.is_true(rawequal(getmetatable(a), getmetatable(b)))
    local weak = round_trip(setmetatable({ [{}] = 1 }, { __mode = "k" }))
    assert.equal("k", getmetatable(weak).__mode)
  end)

  it("are light userdata", function()
    local null = debug.upvalueid(round_trip, 1)
    assert.is_true(null == round_trip(null))
  end)
end)

describe("functions that travel", function()
  it("are Lua functions with their upvalues, which are copies", function()
    local count = 1
    local function increment(by)
      count = count + by
      return count
    end
    assert.equal(6, to_thread(increment, 5))
    assert.equal(6, to_thread(increment, 5))
    assert.equal(1, count)
    assert.equal(11, (round_trip(increment))(10))
  end)

  it("share the upvalues that they share", function()
    local n = 0
    local function add() n = n + 1 end
    local function get() return n end
    assert.equal(2, to_thread(function(a, g) a() a() return g() end, add, get))
    assert.equal(3, to_thread(function() add() add() add() return get() end))
    local a, g = round_trip(add, get)
    a()
    assert.equal(1, g())
    assert.equal(0, n)
  end)

  it("may call themselves and each other", function()
    local odd
    local function even(n) return n == 0 or odd(n - 1) end
    function odd(n) return n ~= 0 and even(n - 1) end
    local function fib(n) return n < 2 and n or fib(n - 1) + fib(n - 2) end
    assert.is_true(to_thread(even, 10))
    assert.equal(55, to_thread(fib, 10))
  end)

  it("find the globals of where they come to", function()
    local pool <close> = lilac.ThreadPool(1)
    pool:submit(load "greeting = 'hello'"):await()
    assert.equal("hello", pool:submit(load "return greeting"):await())
    assert.equal("far", (to_thread(function()
      return (function(env) return env == _G and "far" end)(_ENV)
    end)))
  end)

  it("are the same again while they are in use", function()
    local pool <close> = lilac.ThreadPool(1)
    local function plain() return 1 end
    local function keep(fn) kept = fn return true end -- luacheck: ignore
    assert.is_true(pool:submit(keep, plain):await())
    local function is_kept(fn) return kept == fn end -- luacheck: ignore
    assert.is_true(pool:submit(is_kept, plain):await())
  end)

  it("are C functions, by themselves or as fields of modules", function()
    assert.equal(3, to_thread(math.floor, 3.7))
    assert.is_true(rawequal(math.floor, (round_trip(math.floor))))
    assert.is_true(rawequal(require, (round_trip(require))))
    local cjson = require "cjson"
    assert.equal("[1,2]", to_thread(cjson.encode, { 1, 2 }))
    assert.equal("[1,2]", to_thread(function() return cjson.encode { 1, 2 } end))
    local function is_null(null) return cjson.decode "[null]"[1] == null end
    assert.is_true(to_thread(is_null, cjson.null))
  end)

  it("may have more than a page of upvalues", function()
    local lines, names = {}, {}
    for i = 1, 200 do
      lines[i], names[i] = ("local v%d = %d"):format(i, i), "v" .. i
    end
    local fn = load(table.concat(lines, "\n") .. "\nreturn function() return "
      .. table.concat(names, " + ") .. " end")()
    assert.equal(20100, to_thread(fn))
  end)
end)

describe("modules that travel", function()
  it("are those of the thread", function()
    assert.is_true(to_thread(function()
      return lilac == package.loaded.lilac and lilac.net == require "lilac.net"
    end))
    assert.is_true(rawequal(string, (round_trip(string))))
    assert.is_true(rawequal(_G, (round_trip(_G))))
  end)

  it("are loaded there when they are not", function()
    local outcome = require "spec.support.outcome"
    assert.is_true(to_thread(function(module)
      return module == package.loaded["spec.support.outcome"] and type(module) == "function"
    end, outcome))
  end)

  it("keep the names that they had when they were packed", function()
    -- The finaliser runs while the other functions are packed.
    local child = run [=[
      local lilac = require "lilac"
      local function task() end
      lilac.to_thread(task)
      local fn, others = string.gmatch("", ""), {}
      for i = 1, 3000 do others[i] = function() return i, others end end
      collectgarbage("incremental", 1, 1000, 30)
      collectgarbage "stop"
      package.loaded[("m"):rep(10000) .. #others] = { fn = fn }
      setmetatable({}, { __gc = function()
        for name in pairs(package.loaded) do
          if #name > 9999 then package.loaded[name] = nil end
        end
      end })
      collectgarbage "restart"
      local _, err = pcall(lilac.to_thread, task, fn, others)
      print(err:match "^module '(m*3000)' not found" == ("m"):rep(10000) .. 3000)]=]
    assert.equal("true\n", child.stdout)
  end)
end)

describe("what cannot travel", function()
  it("is named by the path to it", function()
    local conn = { sock = io.stdout }
    local function fn() return conn end
    assert.equal("upvalue 'conn' → field 'sock': a FILE*", refusal(fn))
    assert.equal("argument 2 → field 'list' → field [2]: a Queue",
      refusal(echo, { list = { 1, lilac.Queue() } }))
    assert.equal("argument 3: a coroutine", refusal(echo, 1, coroutine.create(echo)))
    assert.equal("argument 1: a C function with upvalues", refusal(coroutine.wrap(echo)))
    assert.equal("argument 2 → a key: an Event", refusal(echo, { [lilac.Event()] = 1 }))
    assert.equal("argument 2 → metatable → field '__index' → upvalue 'fn' → upvalue 'conn' "
      .. "→ field 'sock': a FILE*",
      refusal(echo, setmetatable({}, { __index = function() return fn end })))
    assert.equal("argument 2: a Task", refusal(echo, lilac.current_task()))
    assert.equal("argument 2: a ThreadPool", refusal(echo, lilac.ThreadPool(1)))
  end)

  it("is what owns something", function()
    local guard = setmetatable({}, { __close = echo })
    assert.equal("upvalue 'guard': a table whose metatable has __gc or __close",
      refusal(function() return guard end))
  end)

  it("is named in results, too", function()
    local function fn() return 1, { x = io.stdout } end
    assert.equal("result 2 → field 'x': a FILE*", refusal(fn))
  end)

  it("is what is too large, in either direction", function()
    local child = run([[
      local lilac = require "lilac"
      local pool <close> = lilac.ThreadPool(1)
      local function list()
        local text, list = ("x"):rep(2^20), {}
        for i = 1, 1025 do list[i] = text end
        return list
      end
      local function try(...) print(select(2, pcall(function(...)
        return pool:submit(...):await()
      end, ...))) end
      try(function() state = "the same thread" end)
      try(print, list())
      try(list)
      try(function() error(list()) end)
      try(function() return state end)]], { limit = 60 })
    local told = ": more than 1 GiB cannot be sent at once\n"
    assert.equal(("\nscript.lua:9: submit%sto_thread%sto_thread%sthe same thread\n")
      :format(told, told, told), child.stdout)
    assert.equal(0, child.status)
  end)
end)
