local lilac = require "lilac"
local watch = require("lilac.watch").watch
local folder = require "spec.support.folder"
local raises = require "spec.support.raises"
local run = require "spec.support.child"
local settle = require "spec.support.settle"
local woken = require "spec.support.woken"

local function next_of(watcher)
  return lilac.timeout(10, function() return table.pack(watcher()) end)
end

--- The events that wait now, as "event name".
local function waiting(watcher)
  local found = {}
  settle()
  while lilac.move_on_after(0, function() found[#found + 1] = table.concat({ watcher() }, " ") end)
  do end -- luacheck: ignore
  return found
end

describe("lilac.watch", function()
  it("tells what appears, changes and disappears in a folder", function()
    local dir <close> = folder()
    local watcher <close> = watch(dir.path)
    dir:write("file", "")
    assert.same({ "rename", "file", n = 2 }, next_of(watcher))
    waiting(watcher)
    dir:write("file", "text")
    assert.same({ "change", "file", n = 2 }, next_of(watcher))
    waiting(watcher)
    os.rename(dir / "file", dir / "other")
    assert.same({ "rename", "file", n = 2 }, next_of(watcher))
    assert.same({ "rename", "other", n = 2 }, next_of(watcher))
    os.remove(dir / "other")
    assert.same({ "rename", "other", n = 2 }, next_of(watcher))
    assert.matches("^Watcher %(/", tostring(watcher))
  end)

  it("tells what happens to a file", function()
    local dir <close> = folder()
    local watcher <close> = watch(dir:write("file", ""))
    dir:write("file", "text")
    assert.same({ "change", "file", n = 2 }, next_of(watcher))
    os.remove(dir / "file")
    waiting(watcher)
  end)

  it("tells each event that waits once", function()
    local dir <close> = folder()
    local watcher <close> = watch(dir.path)
    for i = 1, 100 do dir:write("file", tostring(i)) end
    lilac.sleep(0.01)
    assert.same({ "rename file", "change file" }, waiting(watcher))
  end)

  it("keeps a bounded number of events, and says when some were dropped", function()
    local dir <close> = folder "/dev/shm"
    local watcher <close> = watch(dir.path)
    os.execute(("cd %s && seq 3000 | xargs touch"):format(dir.path))
    lilac.sleep(0.05)
    local found = waiting(watcher)
    assert.equal("overflow", found[1025])
    assert.equal(1025, #found)
    os.remove(dir / "1")
    assert.same({ "rename", "1", n = 2 }, next_of(watcher)) -- and goes on
  end)

  it("can be cancelled while it waits, and loses nothing", function()
    local dir <close> = folder()
    local watcher <close> = watch(dir.path)
    local task = settle.start(watcher)
    task:cancel()
    settle()
    assert.is_true(task:cancelled())
    dir:write("file", "")
    assert.same({ "rename", "file", n = 2 }, next_of(watcher))
  end)

  it("is cancelled also when another took what had woken it", function()
    local dir <close> = folder()
    local watcher <close> = watch(dir.path)
    local reader = settle.start(watcher)
    os.execute(("mkdir %s"):format(dir / "sub"))
    if not woken(reader) then return reader:await() end -- shuffled tasks: it was faster
    assert.same({ "rename", "sub", n = 2 }, next_of(watcher))
    reader:cancel()
    lilac.wait({ reader }, { timeout = 5 })
    assert.is_true(reader:cancelled())
    os.remove(dir / "sub")
    assert.same({ "rename", "sub", n = 2 }, next_of(watcher))
  end)

  it("ends when another task closes it", function()
    local dir <close> = folder()
    local watcher = watch(dir.path)
    local task = settle.start(function()
      for _ in watcher do end -- luacheck: ignore
      return "the end"
    end)
    watcher:close()
    assert.equal("the end", task:await())
    assert.is_nil(watcher())
    watcher:close()
    assert.matches("^Watcher %(closed%)", tostring(watcher))
    raises("ClosedError", watcher.add, watcher, "/", "x/")
    raises("ClosedError", watcher.drop, watcher, "x/")
  end)

  it("refuses a second task, naming both", function()
    local dir <close> = folder()
    local watcher = watch(dir.path)
    local task = settle.start(watcher)
    task.name = "the first"
    lilac.current_task().name = "the second"
    assert.matches("the first.*the second", raises("InvalidStateError", watcher).message)
    watcher:close()
    task:await()
  end)

  it("looks at more folders when they are added, until they are dropped", function()
    local dir <close> = folder()
    os.execute(("cd %s; mkdir a b"):format(dir.path))
    local watcher <close> = watch(dir / "a")
    watcher:add(dir / "b", "b/")
    watcher:add(dir / "b", "b/")
    dir:write("b/file", "")
    assert.same({ "rename", "b/file", n = 2 }, next_of(watcher))
    waiting(watcher)
    watcher:drop "b"
    dir:write("b/file", "text")
    dir:write("a/file", "")
    assert.same({ "rename", "file", n = 2 }, next_of(watcher))
    raises("FileNotFoundError", watcher.add, watcher, dir / "c", "c/")
    assert.has_error(function() watcher:add(dir / "b", "") end)
    assert.has_error(function() watcher:drop "" end)
  end)

  it("raises an error with the path and the reason", function()
    local err = raises("FileNotFoundError", watch, "/x/y")
    assert.equal("watch /x/y: no such file or directory (ENOENT)", err.message)
    for _, wrong in ipairs { {}, "a\0b" } do
      local ok, message = pcall(watch, wrong)
      assert.is_false(ok)
      assert.matches("bad argument #1", message)
    end
  end)

  it("is a deadlock only when nobody waits for it", function()
    local child = run [[
      local lilac = require "lilac"
      local watcher = require("lilac.watch").watch "/"
      print(lilac.move_on_after(0.01, watcher))
      lilac.Future():await()
    ]]
    assert.equal("false\n", child.stdout)
    assert.equal(3, child.status)
  end)

  it("is closed by the collector, and at the end of the program", function()
    local child = run [[
      local lilac = require "lilac"
      for _ = 1, 300 do
        require("lilac.watch").watch "/"
        if _ % 50 == 0 then collectgarbage() lilac.sleep(0) end
      end
      watcher = require("lilac.watch").watch "/"
    ]]
    assert.same({ 0, "" }, { child.status, child.stderr })
  end)

  it("may be closed by a finaliser, in the middle of a call", function()
    local dir <close> = folder()
    local child = run(([[
      local finalise = require "spec.support.finalise"
      local lilac, path = require "lilac", %q
      local add
      for _, call in ipairs {
        function(watcher) return watcher() end,
        function(watcher) add(watcher, 12345, 67890) end
      } do
        local watcher = lilac.watch.watch(path)
        add = watcher.add
        io.open(path .. "/file", "w"):close()
        lilac.sleep(0.05)
        finalise(function() watcher:close() end)
        print(pcall(call, watcher))
      end
    ]]):format(dir.path), { limit = 20 })
    assert.equal("true\tchange\tfile\nfalse\tClosedError: add: the Watcher is closed\n",
      (child.stdout:gsub("rename", "change")))
  end)
end)
