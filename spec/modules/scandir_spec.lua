local lilac = require "lilac"
local scandir = require("lilac.scandir").scandir
local cancelled_early = require "spec.support.cancelled_early"
local descriptors = require "spec.support.descriptors"
local folder = require "spec.support.folder"
local raises = require "spec.support.raises"
local run = require "spec.support.child"
local settle = require "spec.support.settle"

local LILAC = os.getenv "LILAC" or "build/lilac"

local function make_files(dir, count)
  os.execute(("cd %s && seq -f 'file %%g' %d | tr '\\n' '\\0' | xargs -0 touch"):format(dir.path,
    count))
end

describe("fs.scandir", function()
  it("iterates over names and types", function()
    local dir <close> = folder()
    os.execute(("cd %s; touch file .hidden; mkdir sub; ln -s file link; mkfifo fifo")
      :format(dir.path))
    local found = {}
    for name, kind in scandir(dir.path) do found[name] = kind end
    assert.same({ file = "file", [".hidden"] = "file", sub = "directory", link = "link",
      fifo = "fifo" }, found)
    found = {}
    for name, kind in scandir(dir / "sub") do found[name] = kind end
    assert.same({}, found)
  end)

  it("gives all of a large folder, each once", function()
    local dir <close> = folder "/dev/shm"
    make_files(dir, 3000)
    local found, count = {}, 0
    for name in scandir(dir.path) do
      assert.is_nil(found[name])
      found[name], count = true, count + 1
    end
    assert.equal(3000, count)
    assert.is_true(found["file 1"] and found["file 3000"])
  end)

  it("is closed at its end, by the loop, by a scope and by the collector", function()
    local dir <close> = folder "/dev/shm"
    make_files(dir, 2000)
    local before = descriptors()
    for _ in scandir(dir.path) do break end -- luacheck: ignore 512
    assert.equal(before, descriptors())
    local scan = scandir(dir.path)
    repeat until not scan()
    assert.equal(before, descriptors())
    assert.is_nil(scan())
    do
      local closed <close> = scandir(dir.path)
      assert.matches("^Folder %(/", tostring(closed))
      scan = closed
    end
    assert.equal(before, descriptors())
    raises("ClosedError", scan)
    assert.matches("^Folder %(closed%)", tostring(scan))
    scandir(dir.path)()
    collectgarbage()
    collectgarbage()
    assert.equal(before, descriptors())
  end)

  it("loses nothing when a task is cancelled while it waits", function()
    local dir <close> = folder "/dev/shm"
    make_files(dir, 2000)
    local scan <close> = scandir(dir.path)
    local count, cancelled = 0, 0
    local function take()
      for _ in scan do
        count = count + 1
        if count % 50 == 0 then lilac.sleep(0) end
      end
      return "end"
    end
    repeat
      local task = lilac.create_task(take)
      repeat lilac.sleep(0) until task:done() or tostring(task):find "fs:scandir"
      task:cancel()
      lilac.wait { task }
      if task:cancelled() then cancelled = cancelled + 1 end
    until not task:cancelled()
    assert.equal(2000, count)
    assert.is_true(cancelled > 0)
  end)

  it("can be cancelled when it opens, and leaves nothing open", function()
    cancelled_early(scandir, "/etc")
  end)

  it("refuses a second task, naming both, and wakes the first one when it is closed", function()
    local dir <close> = folder "/dev/shm"
    make_files(dir, 2000)
    local scan = scandir(dir.path)
    local first = lilac.create_task(function() for _ in scan do end end) -- luacheck: ignore
    first.name = "the first"
    lilac.current_task().name = "the second"
    repeat lilac.sleep(0) until first:done() or tostring(first):find "fs:scandir"
    local err = raises("InvalidStateError", scan)
    assert.matches("the first.*the second", err.message)
    scan:close()
    raises("ClosedError", first.await, first)
  end)

  it("raises an error with the path and the reason", function()
    local err = raises("FileNotFoundError", scandir, "/x/y")
    assert.equal("scandir /x/y: no such file or directory (ENOENT)", err.message)
    raises("NotADirectoryError", scandir, "/dev/null")
    for _, wrong in ipairs { {}, "a\0b" } do
      local ok, message = pcall(scandir, wrong)
      assert.is_false(ok)
      assert.matches("bad argument #1", message)
    end
  end)

  it("takes bounded memory for a folder of any size", function()
    if LILAC:find "asan" then return end -- it keeps what is freed
    local dir <close> = folder "/dev/shm"
    make_files(dir, 30000)
    local child = run(([[
      local lilac = require "lilac"
      local function peak()
        for line in io.lines "/proc/self/status" do
          local size = line:match "^VmHWM:%%s*(%%d+)"
          if size then return tonumber(size) end
        end
      end
      for _ in lilac.fs.scandir "/" do end
      local before, count = peak(), 0
      for _ in lilac.fs.scandir(%q) do
        count = count + 1
        if count %% 1000 == 0 then collectgarbage() end
      end
      print(count, peak() - before < 1024)
    ]]):format(dir.path))
    assert.equal("30000\ttrue\n", child.stdout)
  end)

  it("does not hold back the end of the program", function()
    local child = run [[
      local lilac = require "lilac"
      scan = lilac.fs.scandir "/usr/lib"
      lilac.create_task(function() for _ in scan do end end)
      lilac.sleep(0)
    ]]
    settle()
    assert.same({ 0, "" }, { child.status, child.stderr })
  end)

  it("may be closed by a finaliser, in the middle of a call", function()
    local dir <close> = folder()
    dir:write("file", "")
    local child = run(([[
      local finalise = require "spec.support.finalise"
      local entries = require("lilac.scandir").scandir(%q)
      finalise(function() entries:close() end)
      print(entries())
      print(pcall(entries))
    ]]):format(dir.path), { limit = 20 })
    assert.equal("file\tfile\nfalse\tClosedError: scandir: the Folder is closed\n", child.stdout)
  end)
end)
