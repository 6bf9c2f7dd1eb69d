-- lilac as a module of a Lua host that is not the interpreter: build/lilac.so in lua5.4. Only the
-- release build makes it.
local LILAC = os.getenv "LILAC" or "build/lilac"
local LIBRARY = os.getenv "LILAC_SO" or "build/lilac.so"

local function exists(path)
  local file = io.open(path)
  return file and file:close()
end

-- Runs a script in lua5.4; returns all that it prints.
local function run(source)
  local script = os.tmpname()
  local file = assert(io.open(script, "w"))
  file:write(("package.cpath = %q\n"):format((LIBRARY:gsub("lilac%.so$", "?.so"))), source)
  file:close()
  local pipe = assert(io.popen("timeout -s KILL 30 lua5.4 " .. script .. " 2>&1"))
  local output = pipe:read "a"
  local _, kind, status = pipe:close()
  os.remove(script)
  assert(status == 0, ("%s %d\n%s"):format(kind, status, output))
  return output
end

describe("lilac in another Lua host", function()
  if LILAC:find "asan" or not exists(LIBRARY) then return end

  it("runs several mains, one after the other, with arguments and results", function()
    assert.equal("2 nil 3\n4 nil 3\n6 nil 3\n", run [[
      local lilac = require "lilac"
      for i = 1, 3 do
        print(table.concat({ (function(a, b, c) return a, tostring(b), c end)(
          lilac.run(function(x)
            lilac.create_task(lilac.sleep, 100)
            lilac.sleep(0.001)
            return x * 2, nil, 3
          end, i)) }, " "))
      end]])
  end)

  it("raises the error of main, and does not report it as well", function()
    assert.equal("oops\n", run [[
      local lilac = require "lilac"
      print(select(2, pcall(lilac.run, function() error("oops", 0) end)))]])
  end)

  it("raises a deadlock, also of a main that cannot get out, and goes on", function()
    assert.matches("^DeadlockError\nDeadlockError\n.*again\n$", (run [[
      local lilac = require "lilac"
      io.stdout:setvbuf "no"
      local event = lilac.Event()
      local function stuck() event:wait() end
      print(select(2, pcall(lilac.run, stuck)).name)
      local function deaf() while true do lilac.pcall(stuck) end end
      local _, err = pcall(lilac.run, function() lilac.create_task(deaf):await() end)
      print(err.name)
      print(lilac.run(function() lilac.sleep(0.001) return "again" end))]]
      :gsub("lilac: task.-\n%f[D\0]", "")))
  end)

  it("runs in a coroutine of the host, which may be gone afterwards", function()
    assert.equal("in a coroutine\ntrue\nsoon\n", run [[
      local lilac = require "lilac"
      local function main() lilac.sleep(0.001) return "in a coroutine" end
      print(coroutine.wrap(function() return lilac.run(main) end)())
      collectgarbage() collectgarbage()
      local task = lilac.create_task(lilac.sleep, 1)
      print(task:cancel "a message")
      lilac.call_soon(print, "soon")
      lilac.run(lilac.sleep, 0.001)]])
  end)

  it("knows coroutines that are older than it", function()
    assert.equal("true\ttrue\ntrue\tnumber\nsuspended\ttrue\tnew\n", run [[
      local lilac
      local started = coroutine.create(function()
        coroutine.yield()
        return type(lilac.time())
      end)
      local new = coroutine.create(function() return "new" end)
      coroutine.resume(started)
      lilac = require "lilac"
      print(true, lilac.time() > 0)
      print(coroutine.resume(started))
      print(coroutine.status(new), coroutine.resume(new))]])
  end)

  it("leaves the host its own print", function()
    assert.equal("true\n", run [[
      local stock = print
      require "lilac"
      print(print == stock)]])
  end)

  it("refuses to await outside of lilac.run", function()
    assert.matches("InvalidStateError: sleep: cannot await outside of lilac.run", run [[
      print(pcall(require("lilac").sleep, 1))]])
  end)
end)
