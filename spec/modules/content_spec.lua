local lilac = require "lilac"
local content = require "lilac.content"
local eventually = require "spec.support.eventually"
local folder = require "spec.support.folder"
local raises = require "spec.support.raises"
local refused = require "spec.support.refused"
local run = require "spec.support.child"
local settle = require "spec.support.settle"
local shim = require "spec.support.shim"

local LILAC = os.getenv "LILAC" or "build/lilac"

local function shell(command, ...)
  local pipe <close> = assert(io.popen(command:format(...)))
  return pipe:read "a":gsub("\n$", "")
end

--- A task that has begun to call fn(...).
local function begin(fn, ...)
  local has_begun = false
  local task = lilac.create_task(function(...)
    has_begun = true
    return fn(...)
  end, ...)
  repeat lilac.sleep(0) until has_begun
  return task
end

describe("content.read_file", function()
  it("reads all of it, whatever is in it", function()
    local dir <close> = folder()
    for _, text in ipairs { "", "x", "a\0b\n", ("0123456789"):rep(1000000) } do
      assert.equal(text, content.read_file(dir:write("file", text)))
    end
  end)

  it("reads files that tell no size, and devices", function()
    assert.matches("Threads:", content.read_file "/proc/self/status", 1, true)
    assert.equal("", content.read_file "/dev/null")
  end)

  it("raises an error with the path and the reason", function()
    local err = raises("FileNotFoundError", content.read_file, "/x/y")
    assert.equal("read_file /x/y: no such file or directory (ENOENT)", err.message)
    assert.equal("/x/y", err.path)
    raises("IsADirectoryError", content.read_file, "/tmp")
    raises("NotADirectoryError", content.read_file, "/dev/null/x")
  end)

  it("reads no more than a limit", function()
    local dir <close> = folder()
    local path = dir:write("file", "hello")
    assert.equal("hello", content.read_file(path, 5))
    local err = raises("LimitOverrunError", content.read_file, path, 4)
    assert.equal(("read_file %s: more than the limit of 4 bytes"):format(path), err.message)
    raises("LimitOverrunError", content.read_file, "/dev/zero", 100)
    raises("LimitOverrunError", content.read_file, path, 0)
    assert.equal("", content.read_file(dir:write("empty", ""), 0))
  end)

  it("waits for who writes to a FIFO, without a thread of the pool", function()
    local dir <close> = folder()
    os.execute("mkfifo " .. dir / "fifo")
    local tasks = {}
    for i = 1, 8 do tasks[i] = settle.start(content.read_file, dir / "fifo") end
    assert.equal("text", content.read_file(dir:write("file", "text")))
    for i = 2, 8 do tasks[i]:cancel() end
    for i = 2, 8 do raises("CancelledError", tasks[i].await, tasks[i]) end
    os.execute(("echo hello > %s"):format(dir / "fifo"))
    assert.equal("hello\n", tasks[1]:await())
  end)

  it("can be cancelled in the middle, and leaves nothing open", function()
    local dir <close> = folder()
    os.execute("truncate -s 400M " .. dir / "large")
    local task = begin(content.read_file, dir / "large")
    task:cancel()
    settle()
    assert.is_true(task:cancelled())
    eventually(function() return shell("ls -l /proc/$PPID/fd | grep -c large") == "0" end)
  end)

  it("reads many files at once", function()
    local dir <close> = folder()
    local tasks = {}
    for i = 1, 200 do
      local path = dir:write(tostring(i), ("%d,"):format(i):rep(i))
      tasks[i] = lilac.create_task(content.read_file, path)
    end
    for i = 1, 200 do assert.equal(("%d,"):format(i):rep(i), tasks[i]:await()) end
  end)

  it("checks its arguments", function()
    refused("string expected, got no value", content.read_file)
    refused("path contains a zero byte", content.read_file, "a\0b")
    refused("limit must be 0 to", content.read_file, "/", -1)
    refused("limit: integer expected, got string", content.read_file, "/", "x")
  end)
end)

describe("content.write_file", function()
  it("writes a new file, with the permissions that the umask leaves", function()
    local dir <close> = folder()
    content.write_file(dir / "file", "a\0b")
    assert.equal("a\0b", dir:read "file")
    assert.equal("file", dir:names())
    local plain = dir:write("plain", "")
    assert.equal(shell("stat -c %%a %s", plain), shell("stat -c %%a %s", dir / "file"))
    content.write_file(dir / "private", "", { mode = "600" })
    assert.equal("600", shell("stat -c %%a %s", dir / "private"))
  end)

  it("replaces a file, and keeps its permissions and owner", function()
    local dir <close> = folder()
    local path = dir:write("file", "old")
    os.execute(("chmod 4751 %s; chown 12:34 %s 2>/dev/null"):format(path, path))
    local before = shell("stat -c '%%a %%u %%g' %s", path)
    content.write_file(path, "new")
    assert.equal("new", dir:read "file")
    assert.equal(before, shell("stat -c '%%a %%u %%g' %s", path))
    content.write_file(path, "newer", { mode = "640" })
    assert.matches("^640 ", shell("stat -c '%%a %%u %%g' %s", path))
  end)

  it("leaves the old file as it is to those who have it open", function()
    local dir <close> = folder()
    local old <close> = io.open(dir:write("file", "old"))
    content.write_file(dir / "file", "new")
    assert.equal("old", old:read "a")
  end)

  it("shows the old content or the new one, never a part", function()
    local dir <close> = folder()
    local path = dir:write("file", ("0"):rep(500000))
    local writer = lilac.create_task(function()
      for i = 1, 20 do
        content.write_file(path, ("%d"):format(i % 10):rep(500000), { sync = false })
      end
    end)
    repeat
      local found = content.read_file(path)
      assert.equal(found:sub(1, 1):rep(500000), found)
    until writer:done()
    writer:await()
  end)

  it("writes through links, also one that leads nowhere yet", function()
    local dir <close> = folder()
    os.execute(("cd %s; mkdir sub; echo old > sub/file; ln -s sub/file link; ln -s link link2"
      .. "; ln -s sub/new link3; ln -s loop loop"):format(dir.path))
    content.write_file(dir / "link2", "new")
    assert.equal("new", dir:read "sub/file")
    assert.equal("sub/file", shell("readlink %s", dir / "link"))
    content.write_file(dir / "link3", "made")
    assert.equal("made", dir:read "sub/new")
    assert.equal("ELOOP", raises("OSError", content.write_file, dir / "loop", "x").code)
    assert.equal("file new", shell("ls -A %s/sub | tr '\\n' ' '", dir.path):gsub(" $", ""))
  end)

  it("can write in place, and append", function()
    local dir <close> = folder()
    local path = dir:write("file", "old content")
    local inode = shell("stat -c %%i %s", path)
    content.write_file(path, "new", { atomic = false })
    content.write_file(path, "er", { append = true, sync = false })
    content.write_file(dir / "made", "x", { append = true })
    assert.equal("newer", dir:read "file")
    assert.equal("x", dir:read "made")
    assert.equal(inode, shell("stat -c %%i %s", path))
  end)

  it("writes to devices in place", function()
    content.write_file("/dev/null", "x")
    local err = raises("OSError", content.write_file, "/dev/full", "x")
    assert.equal("write_file /dev/full: no space left on device (ENOSPC)", err.message)
    assert.equal("character special file", shell "stat -c %%F /dev/full")
  end)

  it("raises an error with the path and the reason", function()
    local err = raises("FileNotFoundError", content.write_file, "/nosuch/x", "x")
    assert.equal("write_file /nosuch/x: no such file or directory (ENOENT)", err.message)
    raises("IsADirectoryError", content.write_file, "/tmp", "x")
    raises("NotADirectoryError", content.write_file, "/dev/null/x", "x")
  end)

  describe("leaves the old file and nothing else", function()
    local NO_SPACE = "no space left on device (ENOSPC)"
    for what, disk in pairs {
      ["when the disk is full"] = { NO_SPACE, shim { SHIM_DISK = 0 } },
      ["when the disk has room for a part"] = { NO_SPACE, shim { SHIM_DISK = 65536 } },
      ["when the disk tells so at the very end"] = { NO_SPACE, shim { SHIM_SYNC = "fails" } },
      ["where it may not grow so large"] = { "file too large (EFBIG)", "ulimit -f 20;" },
    } do
      it(what, function()
        local dir <close> = folder()
        local path = dir:write("file", "old")
        local child = run(([[
          local ok, err = pcall(require("lilac").fs.write_file, %q, ("x"):rep(100000))
          print(ok, err.path, err.message)
        ]]):format(path), { env = disk[2] })
        assert.equal("", child.stderr)
        assert.equal(("false\t%s\twrite_file %s: %s\n"):format(path, path, disk[1]), child.stdout)
        assert.equal("old", dir:read "file")
        assert.equal("file", dir:names())
      end)
    end
  end)

  it("tells that the disk is full also where it makes a new file, appends or writes in place",
    function()
      local dir <close> = folder()
      dir:write("file", "old")
      local child = run(([[
        local fs, dir = require "lilac".fs, %q
        for name, options in pairs {
          new = {}, file = { append = true }, made = { atomic = false },
        } do
          local ok, err = pcall(fs.write_file, dir .. "/" .. name, ("x"):rep(100), options)
          print(ok, err.code, err.path == dir .. "/" .. name)
        end
      ]]):format(dir.path), { env = shim { SHIM_DISK = 50 } })
      assert.equal("", child.stderr)
      assert.equal(("false\tENOSPC\ttrue\n"):rep(3), child.stdout)
      assert.equal("file made", dir:names())
      assert.equal("old" .. ("x"):rep(47), dir:read "file")
    end)

  it("leaves the old file and nothing else when it is cancelled", function()
    local dir <close> = folder()
    dir:write("file", "old")
    local large = ("x"):rep(50000000)
    local task = begin(content.write_file, dir / "file", large)
    task:cancel()
    settle()
    assert.is_true(task:cancelled())
    eventually(function() return dir:names() == "file" end)
    assert.equal("old", dir:read "file")
  end)

  it("does not replace a file that may not be written", function()
    local dir <close> = folder()
    dir:write("file", "old")
    os.execute(("chmod 777 %s; chmod 444 %s"):format(dir.path, dir / "file"))
    local script = dir:write("script.lua", ([[
      print(pcall(require("lilac").fs.write_file, %q, "new"))
    ]]):format(dir / "file"))
    local as_nobody = shell "id -u" == "0" and "setpriv --reuid=65534 --clear-groups " or ""
    local copy = dir / "lilac" -- as nobody may not see the build
    os.execute(("cp %s %s; chmod 755 %s"):format(LILAC, copy, copy))
    assert.equal(("false\tPermissionError: write_file %s: permission denied (EACCES)"):format(
      dir / "file"), (shell("%s%s %s", as_nobody, copy, script)))
    assert.equal("old", dir:read "file")
  end)

  it("checks its arguments", function()
    refused("path contains a zero byte", content.write_file, "a\0b", "x")
    refused("bad argument #2 .*string expected, got no value", content.write_file, "a")
    refused("unknown option 'fsync'; known: atomic", content.write_file, "a", "x", { fsync = 1 })
    refused("option 'append': it cannot be atomic", content.write_file, "a", "x",
      { append = true, atomic = true })
    refused("option 'mode': octal", content.write_file, "a", "x", { mode = "rw" })
  end)
end)

describe("content.copyfile", function()
  it("copies content and permissions, of files of any size", function()
    local dir <close> = folder()
    for _, size in ipairs { 0, 1, 100, 20000000 } do
      local path = dir:write("from", ("x"):rep(size))
      os.execute("chmod 711 " .. path)
      os.remove(dir / "to")
      content.copyfile(path, dir / "to")
      assert.equal(("x"):rep(size), dir:read "to")
      assert.equal("711", shell("stat -c %%a %s", dir / "to"))
    end
  end)

  it("replaces the content of a file, unless it is to make one", function()
    local dir <close> = folder()
    dir:write("from", "new")
    dir:write("to", "old content")
    raises("FileExistsError", content.copyfile, dir / "from", dir / "to", { exclusive = true })
    assert.equal("old content", dir:read "to")
    content.copyfile(dir / "from", dir / "to")
    assert.equal("new", dir:read "to")
  end)

  it("copies files that tell no size, and to other file systems", function()
    local dir <close> = folder()
    content.copyfile("/proc/self/limits", dir / "limits")
    assert.matches("Max open files", dir:read "limits")
    local _ <close> = setmetatable({}, { __close = function() os.remove "/dev/shm/copy" end })
    content.copyfile(dir / "limits", "/dev/shm/copy")
    assert.equal(dir:read "limits", content.read_file "/dev/shm/copy")
  end)

  it("names both paths in its errors, and leaves nothing behind", function()
    local dir <close> = folder()
    local path = dir:write("file", "text")
    local err = raises("FileNotFoundError", content.copyfile, "/x/y", dir / "to")
    assert.equal(("copyfile /x/y to %s: no such file or directory (ENOENT)"):format(dir / "to"),
      err.message)
    raises("IsADirectoryError", content.copyfile, dir.path, dir / "to")
    raises("IsADirectoryError", content.copyfile, path, dir.path)
    assert.equal("EINVAL", raises("OSError", content.copyfile, path, path).code)
    os.execute("mkfifo " .. dir / "fifo")
    assert.equal("EINVAL", raises("OSError", content.copyfile, dir / "fifo", dir / "to").code)
    assert.equal("ENOSPC", raises("OSError", content.copyfile, path, "/dev/full").code)
    assert.equal("fifo file", dir:names())
    assert.equal("text", dir:read "file")
  end)

  it("removes what it has made when the disk is full", function()
    local dir <close> = folder()
    local path = dir:write("file", ("x"):rep(100))
    local child = run(([[
      local ok, err = pcall(require("lilac").fs.copyfile, %q, %q)
      print(ok, err.message)
    ]]):format(path, dir / "to"), { env = shim { SHIM_DISK = 50 } })
    assert.equal(("false\tcopyfile %s to %s: no space left on device (ENOSPC)\n"):format(path,
      dir / "to"), child.stdout, child.stderr)
    assert.equal("file", dir:names())
  end)

  it("removes what it has made when it is cancelled", function()
    local dir <close> = folder()
    local task = begin(content.copyfile, "/dev/zero", dir / "to")
    eventually(function() return dir:names() ~= "" end)
    task:cancel()
    settle()
    assert.is_true(task:cancelled())
    eventually(function() return dir:names() == "" end)
  end)

  it("checks its arguments", function()
    refused("bad argument #2 .*string expected", content.copyfile, "a")
    refused("bad argument #2 .*zero byte", content.copyfile, "a", "b\0")
    refused("option 'exclusive': boolean expected", content.copyfile, "a", "b", { exclusive = 1 })
  end)
end)
