-- require: as in stock Lua, but what it calls may await, and a module is loaded once.

local lilac = require "lilac"
local settle = require "spec.support.settle"

local names = {}

-- Makes `fn` the module of that name for the `it` that runs.
local function preload(name, fn)
  names[#names + 1] = name
  package.preload[name] = fn
end

after_each(function()
  for _, name in ipairs(names) do
    package.preload[name], package.loaded[name] = nil, nil
  end
  names = {}
end)

local function fails(...)
  local ok, err = pcall(require, ...)
  assert.is_false(ok)
  return err
end

describe("require", function()
  it("returns what is loaded, and nothing else", function()
    assert.equal(1, select("#", require "string"))
    assert.equal(string, require "string")
  end)

  it("loads a module that awaits; its second result is the loader data", function()
    preload("spec.m", function(...)
      lilac.sleep(1e-6)
      return { ... }
    end)
    local module, data = require "spec.m"
    assert.same({ "spec.m", ":preload:" }, module)
    assert.equal(":preload:", data)
    assert.equal(module, require "spec.m")
  end)

  it("loads a file, whose name is the second result", function()
    local path = os.tmpname()
    local file = io.open(path, "w")
    file:write "require 'lilac'.sleep(0) return {...}"
    file:close()
    local old = package.path
    package.path = path:gsub("[^/]*$", "?")
    local name = path:match "[^/]*$"
    local module, data = require(name)
    package.path, package.loaded[name] = old, nil
    os.remove(path)
    assert.same({ name, path }, module)
    assert.equal(path, data)
  end)

  it("gives true for a module that returns nothing, and keeps a false", function()
    preload("spec.nothing", function() end)
    assert.is_true((require "spec.nothing"))
    preload("spec.false", function() return false end)
    assert.is_false((require "spec.false"))
  end)

  it("gives what the module has put into package.loaded", function()
    preload("spec.own", function(name) package.loaded[name] = 25 end)
    assert.equal(25, (require "spec.own"))
  end)

  it("takes a number for a name, and nothing else but strings", function()
    assert.matches("^module '12' not found:", fails(12))
    assert.equal("bad argument #1 to 'require' (string expected, got no value)", fails())
    assert.equal("bad argument #1 to 'require' (string expected, got table)", fails {})
  end)

  it("fails as stock Lua does when there is no such module", function()
    local path, cpath = package.path, package.cpath
    package.path, package.cpath = "?.lua;?/?", "?.so;?/init"
    local err = fails "spec.none"
    local ok, blamed = pcall(load("require 'spec.none'", "=chunk"))
    package.path, package.cpath = path, cpath
    assert.equal([[
module 'spec.none' not found:
	no field package.preload['spec.none']
	no file 'spec/none.lua'
	no file 'spec/none/spec/none'
	no file 'spec/none.so'
	no file 'spec/none/init'
	no file 'spec.so'
	no file 'spec/init']], err)
    assert.is_false(ok)
    assert.equal("chunk:1: " .. err, blamed)
  end)

  it("says of a name like lilac's that lilac has no such module", function()
    assert.matches("\n\tno module 'lilac%.nonsense' in lilac\n", fails "lilac.nonsense")
  end)

  it("shows itself in tracebacks as the C function it was", function()
    preload("spec.bad", function() local _ = nil + 1 end)
    local _, text = xpcall(require, debug.traceback, "spec.bad")
    assert.matches("in function <[^\n]*\n\t%[C%]: in function 'require'\n", text)
  end)

  it("uses the table `package`, whatever stands in its global", function()
    local own = package
    preload("spec.p", function() return "p" end)
    package = {} -- luacheck: ignore
    local ok, module = pcall(require, "spec.p")
    package = own -- luacheck: ignore
    assert.same({ true, "p" }, { ok, module })
  end)
end)

describe("a module that fails", function()
  it("raises its error, and is tried again the next time", function()
    local tries = 0
    preload("spec.f", function()
      tries = tries + 1
      lilac.sleep(0)
      if tries < 3 then error("try " .. tries, 0) end
      return "third"
    end)
    assert.equal("try 1", fails "spec.f")
    assert.equal("try 2", fails "spec.f")
    assert.equal("third", (require "spec.f"))
  end)

  it("is tried again by the task that waited for it", function()
    local tries = 0
    preload("spec.f", function()
      tries = tries + 1
      local try = tries
      lilac.sleep(1e-4)
      error("try " .. try, 0)
    end)
    local errs = {}
    local function need()
      local err = fails "spec.f"
      errs[#errs + 1] = err
    end
    lilac.gather(need, need)
    assert.same({ "try 1", "try 2" }, errs)
    assert.is_nil(package.loaded["spec.f"])
  end)

  it("of syntax tells file and line", function()
    local path = os.tmpname()
    local file = io.open(path, "w")
    file:write "x ="
    file:close()
    local old = package.path
    package.path = path:gsub("[^/]*$", "?")
    local name = path:match "[^/]*$"
    local err = fails(name)
    package.path = old
    os.remove(path)
    assert.matches("^error loading module '" .. name .. "' from file '" .. path .. "':\n\t", err)
  end)
end)

describe("two tasks that require one module", function()
  it("load it once: the second waits for the first", function()
    local loads, log = 0, {}
    preload("spec.once", function()
      loads = loads + 1
      lilac.sleep(1e-3)
      log[#log + 1] = "loaded"
      return {}
    end)
    local function need()
      local module = require "spec.once"
      log[#log + 1] = "required"
      return module
    end
    local a, b, c = lilac.gather(need, need, need)
    assert.equal(1, loads)
    assert.equal(a, b)
    assert.equal(a, c)
    assert.same({ "loaded", "required", "required", "required" }, log)
  end)

  it("load it once more when the first is cancelled while it loads", function()
    local loads = 0
    preload("spec.cancelled", function()
      loads = loads + 1
      lilac.sleep(loads == 1 and 99 or 0)
      return loads
    end)
    local first = settle.start(require, "spec.cancelled")
    local second = settle.start(require, "spec.cancelled")
    first:cancel()
    assert.equal(2, (second:await()))
    assert.is_true(first:cancelled())
  end)

  it("are not disturbed when the second is cancelled while it waits", function()
    local go_on = lilac.Event()
    preload("spec.slow", function()
      go_on:wait()
      return "slow"
    end)
    local first = settle.start(require, "spec.slow")
    local second = settle.start(require, "spec.slow")
    second:cancel()
    settle()
    go_on:set()
    assert.equal("slow", (first:await()))
    assert.is_true(second:cancelled())
  end)
end)

describe("modules that require each other", function()
  it("get an error that shows the circle", function()
    preload("spec.a", function() lilac.sleep(0) require "spec.b" end)
    preload("spec.b", function() require "spec.c" end)
    preload("spec.c", function() require "spec.a" end)
    assert.matches("module 'spec%.a' is required in a circle: "
      .. "'spec%.a' → 'spec%.b' → 'spec%.c' → 'spec%.a'$", fails "spec.a")
  end)

  it("get it also when two tasks load them: neither waits for ever", function()
    preload("spec.x", function() lilac.sleep(1e-4) require "spec.y" end)
    preload("spec.y", function() lilac.sleep(1e-4) require "spec.x" end)
    local results = lilac.gather({
      function() require "spec.x" end, function() require "spec.y" end,
    }, { return_exceptions = true })
    for i = 1, 2 do assert.matches("required in a circle", tostring(results[i])) end
  end)

  it("may do so once what is needed stands in package.loaded", function()
    preload("spec.early", function(name)
      package.loaded[name] = { early = true }
      lilac.sleep(0)
      return (require "spec.late")
    end)
    preload("spec.late", function() return require "spec.early" end)
    assert.same({ early = true }, (require "spec.early"))
  end)
end)

describe("package.searchers", function()
  local searchers = package.searchers
  after_each(function() package.searchers = searchers end)

  it("may hold a searcher that awaits", function()
    package.searchers = { function(name)
      lilac.sleep(1e-6)
      return function(...)
        lilac.sleep(0)
        return { ... }
      end, name .. "!"
    end }
    local module, data = require "spec.searched"
    package.loaded["spec.searched"] = nil
    assert.same({ "spec.searched", "spec.searched!" }, module)
    assert.equal("spec.searched!", data)
  end)

  it("are asked in their order, until one returns a function", function()
    local asked = {}
    package.searchers = {
      function() asked[#asked + 1] = 1 end,
      function() asked[#asked + 1] = 2 return "not here" end,
      function() asked[#asked + 1] = 3 return function() return 3 end end,
      function() asked[#asked + 1] = 4 end,
    }
    assert.equal(3, (require "spec.order"))
    package.loaded["spec.order"] = nil
    assert.same({ 1, 2, 3 }, asked)
  end)

  it("tell in the error what they tried", function()
    package.searchers = { function() return "no luck" end, function() end, function() return 7 end }
    assert.equal("module 'spec.q' not found:\n\tno luck\n\t7", fails "spec.q")
  end)

  it("must be a table", function()
    package.searchers = 3 -- luacheck: ignore
    assert.equal("'package.searchers' must be a table", fails "spec.q")
  end)

  it("may fail, which leaves nothing locked", function()
    package.searchers = { function() error("broken", 0) end }
    assert.equal("broken", fails "spec.q")
    assert.equal("broken", fails "spec.q")
  end)
end)

describe("require where there is no task, or it cannot wait", function()
  it("loads what does not await, in a callback", function()
    preload("spec.cb", function() return "cb" end)
    local result
    lilac.call_soon(function() result = require "spec.cb" end)
    settle()
    assert.equal("cb", result)
  end)

  it("is an error in a callback when the module awaits", function()
    preload("spec.cb", function() lilac.sleep(0) end)
    local err
    lilac.call_soon(function() err = fails "spec.cb" end)
    settle()
    assert.matches("cannot await in a callback", tostring(err))
    assert.is_nil(package.loaded["spec.cb"])
  end)

  it("names the C function in the way, and not itself", function()
    preload("spec.gsub", function() lilac.sleep(0) end)
    local ok, err = pcall(string.gsub, "a", ".", function() require "spec.gsub" end)
    assert.is_false(ok)
    assert.matches("inside 'string.gsub'", tostring(err))
  end)
end)
