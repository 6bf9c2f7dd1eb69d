local lilac = require "lilac"
local file = require "lilac.file"
local cancelled_early = require "spec.support.cancelled_early"
local descriptors = require "spec.support.descriptors"
local eventually = require "spec.support.eventually"
local folder = require "spec.support.folder"
local raises = require "spec.support.raises"
local refused = require "spec.support.refused"
local run = require "spec.support.child"
local settle = require "spec.support.settle"
local shim = require "spec.support.shim"
local turns_during = require "spec.support.turns_during"
local woken = require "spec.support.woken"

local LILAC = os.getenv "LILAC" or "build/lilac"

--- A FIFO in a folder.
local function fifo(dir)
  os.execute("mkfifo " .. dir / "fifo")
  return dir / "fifo"
end

describe("file.open", function()
  it("opens in the modes of io", function()
    local dir <close> = folder()
    local path = dir / "file"
    raises("FileNotFoundError", file.open, path)
    raises("FileNotFoundError", file.open, path, "r+")
    file.open(path, "w"):write("one"):close()
    assert.equal("one", dir:read "file")
    file.open(path, "a"):write("two"):close()
    assert.equal("onetwo", dir:read "file")
    file.open(path, "r+b"):write("ON"):close()
    assert.equal("ONetwo", dir:read "file")
    local both <close> = file.open(path, "w+")
    both:write("new"):seek "set"
    assert.equal("new", both:read())
    local last <close> = file.open(path, "a+")
    assert.equal("new", last:read())
    last:seek "set"
    last:write("er"):seek "set"
    assert.equal("newer", last:read())
  end)

  it("raises an error with the path and the reason", function()
    local err = raises("FileNotFoundError", file.open, "/x/y")
    assert.equal("open /x/y: no such file or directory (ENOENT)", err.message)
    assert.same({ "/x/y", "open", "ENOENT" }, { err.path, err.syscall, err.code })
    for _, mode in ipairs { "r", "w", "a+" } do
      raises("IsADirectoryError", file.open, "/tmp", mode)
    end
    raises("NotADirectoryError", file.open, "/dev/null/x", "w")
  end)

  it("makes a new file alone when asked, with permissions", function()
    local dir <close> = folder()
    local made <close> = file.open(dir / "new", "w", { exclusive = true, mode = "600" })
    assert.equal(384, made:stat().mode)
    raises("FileExistsError", file.open, dir / "new", "w", { exclusive = true })
  end)

  it("can be cancelled, and leaves no descriptor open", function()
    cancelled_early(file.open, "/dev/null")
  end)

  it("checks its arguments", function()
    refused("string expected, got no value", file.open)
    refused("path contains a zero byte", file.open, "/dev/null\0")
    for _, mode in ipairs { "", "x", "rw", "r+w", "rb+", "+r" } do
      refused("invalid mode '" .. mode:gsub("%p", "%%%0") .. "'", file.open, "/dev/null", mode)
    end
    refused("unknown option 'permissions'; known: mode", file.open, "/", "r", { permissions = 1 })
    refused("option 'exclusive': it is to make", file.open, "/", "r", { exclusive = true })
    refused("option 'mode': octal", file.open, "/", "r", { mode = -1 })
  end)
end)

describe("file.mkstemp", function()
  it("makes a file with a new name, for this user alone", function()
    local dir <close> = folder()
    local made <close>, path = file.mkstemp { dir = dir.path, prefix = "a-", suffix = ".txt" }
    assert.matches("/a%-%w+%.txt$", path)
    assert.equal(384, made:stat().mode)
    made:write("text"):seek "set"
    assert.equal("text", made:read "a")
    refused("option 'suffix': name expected, got path '/x'", file.mkstemp, { suffix = "/x" })
    raises("FileNotFoundError", file.mkstemp, { dir = "/nosuch" })
  end)

  it("leaves nothing behind when it is cancelled", function()
    local dir <close> = folder()
    local before = descriptors()
    local tasks = {}
    for i = 1, 50 do tasks[i] = lilac.create_task(file.mkstemp, { dir = dir.path }) end
    lilac.sleep(0)
    for i = 1, 50 do tasks[i]:cancel() end
    lilac.wait(tasks)
    for i = 1, 50 do
      if not tasks[i]:cancelled() then
        local made, path = tasks[i]:await()
        made:close()
        os.remove(path)
      end
    end
    eventually(function() return dir:names() == "" and descriptors() == before end)
  end)
end)

describe("File:read", function()
  local TEXTS = { "", "\n", "a", "a\n", "a\n\nb\n", "one two\n3 4.5 0x10 -7e2 nope\n8",
    "  12\n\n13", "0x", "1e+", "+", "- 5", "0xfp1z", ".5.5", "1..2", "nan inf",
    ("1"):rep(199) .. " 7", ("1"):rep(200) .. "2 7", ("1"):rep(300),
    (" "):rep(5000) .. "42", "0\0001\n\0\n", "99e99e9" }
  local FORMATS = { "n", "l", "L", "a", 0, 1, 3, 1000, "*l", "*n", "number" }

  it("reads what io reads, in every format", function()
    local dir <close> = folder()
    math.randomseed(7)
    for _, text in ipairs(TEXTS) do
      local path = dir:write("file", text)
      for _ = 1, 30 do
        local ours <close> = file.open(path)
        local theirs <close> = io.open(path)
        for _ = 1, 4 do
          local formats = {}
          for i = 1, math.random(3) do formats[i] = FORMATS[math.random(#FORMATS)] end
          assert.same(table.pack(theirs:read(table.unpack(formats))),
            table.pack(ours:read(table.unpack(formats))),
            ("%q in %s"):format(text, table.concat(formats, ",")))
          assert.equal(theirs:seek(), ours:seek())
        end
      end
    end
  end)

  it("reads large files, in pieces of all sizes", function()
    local dir <close> = folder()
    local parts = {}
    math.randomseed(11)
    for i = 1, 3000 do parts[i] = ("x"):rep(math.random(0, 600)) .. i end
    local text = table.concat(parts, "\n")
    local path = dir:write("file", text)
    local ours <close> = file.open(path)
    for i = 1, 3000 do assert.equal(parts[i], ours:read()) end
    assert.is_nil(ours:read())
    ours:seek "set"
    assert.equal(text, ours:read "a")
    for _, size in ipairs { 7, 4096, 65536, 100000, #text, #text + 1 } do
      ours:seek "set"
      local pieces = {}
      for piece in ours:lines(size) do pieces[#pieces + 1] = piece end
      assert.equal(text, table.concat(pieces), size)
      assert.equal(math.ceil(#text / size), #pieces)
    end
  end)

  it("reads a line of any length", function()
    local dir <close> = folder()
    local long = ("x"):rep(3000000)
    local path = dir:write("file", "a\n" .. long .. "\nb")
    local ours <close> = file.open(path)
    assert.same({ "a", long, "b" }, { ours:read("l", "l", "l") })
  end)

  it("sees what is added after the end", function()
    local dir <close> = folder()
    local path = dir:write("file", "one\n")
    local ours <close> = file.open(path)
    assert.same({ "one" }, { ours:read("l", "l") })
    local theirs <close> = io.open(path, "a")
    theirs:write("two\n"):flush()
    assert.equal("two", ours:read())
    assert.is_nil(ours:read())
  end)

  it("loses nothing when it is cancelled, in whatever format", function()
    local dir <close> = folder()
    local path = dir:write("file", "one\ntwo\n" .. ("x"):rep(100000) .. "\n42 end")
    local several = { { "a" }, { "l", "l", "l", "l" }, { 5, "a" }, { "l", "l", "L", "n" } }
    for _, formats in ipairs(several) do
      local ours <close> = file.open(path)
      local task = lilac.create_task(ours.read, ours, table.unpack(formats))
      lilac.sleep(0)
      task:cancel()
      settle()
      assert.is_true(task:cancelled())
      assert.equal(0, ours:seek())
      assert.same({ "one", "two" }, { ours:read("l", "l") })
      assert.equal(100000, #ours:read())
      assert.equal(42, ours:read "n")
      assert.equal(" end", ours:read "a")
    end
  end)

  it("is cancelled also when a part has come, which is kept", function()
    local dir <close> = folder()
    local ours <close> = file.open(fifo(dir), "r+")
    local reader = settle.start(ours.read, ours)
    os.execute(("printf part > %s"):format(dir / "fifo"))
    woken(reader)
    reader:cancel()
    lilac.wait({ reader }, { timeout = 5 })
    assert.is_true(reader:cancelled())
    os.execute(("echo ' and rest' > %s"):format(dir / "fifo"))
    assert.equal("part and rest", ours:read())
  end)

  it("gives each of several tasks whole lines, in the order of their coming", function()
    local dir <close> = folder()
    local lines = {}
    for i = 1, 100 do lines[i] = tostring(i) end
    local ours <close> = file.open(dir:write("file", table.concat(lines, "\n")))
    local tasks = {}
    for i = 1, 100 do tasks[i] = lilac.create_task(ours.read, ours, "n") end
    local results = lilac.gather(tasks)
    if os.getenv "LILAC_SHUFFLE" then return end
    for i = 1, 100 do assert.equal(i, results[i]) end
  end)

  it("hands the turn on when who has it, or waits for it, is cancelled", function()
    local dir <close> = folder()
    local ours <close> = file.open(dir:write("file", "one\ntwo\nthree\n"))
    local first = lilac.create_task(ours.read, ours)
    local second = lilac.create_task(ours.read, ours)
    local third = lilac.create_task(ours.read, ours)
    lilac.sleep(0)
    first:cancel()
    second:cancel()
    lilac.wait { first, second }
    local taken = first:cancelled() and 0 or 1 -- its result may have come first
    taken = taken + (second:cancelled() and 0 or 1)
    assert.equal(({ [0] = "one", "two", "three" })[taken], third:await())
  end)

  it("raises ClosedError when another task closes the file", function()
    local dir <close> = folder()
    local ours = file.open(fifo(dir))
    local reader = settle.start(ours.read, ours)
    local second = settle.start(ours.read, ours)
    ours:close()
    assert.equal("read: the File is closed", raises("ClosedError", reader.await, reader).message)
    raises("ClosedError", second.await, second)
    raises("ClosedError", ours.read, ours)
    raises("ClosedError", ours.lines, ours)
  end)

  it("checks its arguments", function()
    local ours <close> = file.open "/dev/null"
    refused("invalid format", ours.read, ours, "x")
    refused("bad argument #3 .*invalid format", ours.read, ours, "l", "")
    refused("number of bytes must be at least 0, got %-1", ours.read, ours, -1)
    refused("string expected, got table", ours.read, ours, {})
    refused("File expected, got table", ours.read, {})
    local writer <close> = file.open("/dev/null", "w")
    local err = raises("InvalidStateError", writer.read, writer)
    assert.equal("read /dev/null: the File was opened for writing", err.message)
    raises("InvalidStateError", writer.lines, writer)
  end)

  it("reads files without a size, and devices", function()
    local ours <close> = file.open "/proc/self/status"
    assert.matches("^Name:\t", ours:read "l")
    assert.matches("Threads:", ours:read "a", 1, true)
    local zero <close> = file.open "/dev/zero"
    assert.equal(("\0"):rep(100000), zero:read(100000))
  end)
end)

describe("File:lines", function()
  it("iterates as io does, in several formats too", function()
    local dir <close> = folder()
    local path = dir:write("file", "1 a\n2 b\n3 c")
    local function collect(from, ...)
      local found = {}
      for a, b in from:lines(...) do found[#found + 1] = { a, b } end
      return found
    end
    for _, formats in ipairs { {}, { "L" }, { "n", "l" }, { 2 } } do
      local ours <close> = file.open(path)
      local theirs <close> = io.open(path)
      assert.same(collect(theirs, table.unpack(formats)), collect(ours, table.unpack(formats)))
    end
  end)

  it("lets other tasks run", function()
    local dir <close> = folder()
    local ours <close> = file.open(dir:write("file", ("line\n"):rep(500000)))
    assert.is_true(turns_during(function()
      for _ in ours:lines() do end -- luacheck: ignore
    end) >= 5)
  end)
end)

describe("File:write", function()
  it("writes strings and numbers as io does, and returns the file", function()
    local dir <close> = folder()
    local ours, theirs = file.open(dir / "ours", "w"), io.open(dir / "theirs", "w")
    for _, out in ipairs { ours, theirs } do
      assert.equal(out, out:write("a", 1, 1e100, -0.1, "\0b\n"))
      out:write()
      out:close()
    end
    assert.equal(dir:read "theirs", dir:read "ours")
  end)

  it("keeps what it is given until there is enough, or it is flushed", function()
    local dir <close> = folder()
    local ours <close> = file.open(dir / "file", "w")
    ours:write "hello"
    assert.equal("", dir:read "file")
    assert.equal(ours, ours:flush())
    assert.equal("hello", dir:read "file")
    assert.equal(ours, ours:sync())
    ours:write(("x"):rep(100000))
    ours:flush()
    assert.equal(100005, #dir:read "file")
  end)

  it("writes in order whatever the sizes are", function()
    local dir <close> = folder()
    local ours <close> = file.open(dir / "file", "w")
    local parts = {}
    math.randomseed(3)
    for i = 1, 300 do
      parts[i] = (i .. ","):rep(math.random(0, 3000))
      ours:write(parts[i])
    end
    ours:close()
    assert.equal(table.concat(parts), dir:read "file")
  end)

  it("keeps the writes of several tasks whole, and those of cancelled ones", function()
    local dir <close> = folder()
    local ours <close> = file.open(dir / "file", "w")
    local tasks = {}
    for i = 1, 10 do
      tasks[i] = lilac.create_task(ours.write, ours, ("%d"):format(i - 1):rep(100000))
    end
    settle()
    for i = 1, 10 do tasks[i]:cancel() end
    lilac.wait(tasks)
    ours:close()
    local found = dir:read "file"
    assert.equal(0, #found % 100000)
    for at = 1, #found, 100000 do
      local piece = found:sub(at, at + 99999)
      assert.equal(piece:sub(1, 1):rep(100000), piece)
    end
  end)

  it("writes all that it has accepted when it is cancelled", function()
    local dir <close> = folder()
    local path = fifo(dir)
    local reader <close> = file.open(path)
    local ours = file.open(path, "w")
    local text = ("x"):rep(1000000)
    local task = settle.start(function()
      ours:write(text)
      ours:write(text)
    end)
    assert.is_false(task:done()) -- the FIFO is full
    task:cancel()
    settle()
    assert.is_true(task:cancelled())
    local closing = lilac.create_task(ours.close, ours)
    assert.equal(2000000, #reader:read "a")
    closing:await()
  end)

  it("raises an error once, and says what is wrong", function()
    local full <close> = file.open("/dev/full", "w")
    full:write "x"
    local err = raises("OSError", full.flush, full)
    assert.equal("flush /dev/full: no space left on device (ENOSPC)", err.message)
    full:flush()
    err = raises("OSError", full.write, full:setvbuf "no", "y")
    assert.equal("write /dev/full: no space left on device (ENOSPC)", err.message)
    full:setvbuf("full"):write "z"
    err = raises("OSError", full.close, full)
    assert.equal("close /dev/full: no space left on device (ENOSPC)", err.message)
  end)

  it("raises EFBIG where a file may not grow, and goes on", function()
    local dir <close> = folder()
    local child = run(([[
      local lilac = require "lilac"
      local file <close> = lilac.fs.open(%q, "w")
      file:write(("x"):rep(100000))
      print(pcall(file.flush, file))
      print(file:seek(), file:stat().size)
      file:seek "set"
      file:write("yy"):flush()
      file:seek "set"
    ]]):format(dir / "file"), { env = "ulimit -f 20;" })
    assert.equal("", child.stderr)
    local limit = #dir:read "file"
    assert.equal(("false\tOSError: flush %s: file too large (EFBIG)\n%d\t%d\n"):format(
      dir / "file", limit, limit), child.stdout)
    assert.equal("yyx", dir:read("file"):sub(1, 3))
    assert.equal(0, child.status)
  end)

  it("raises ENOSPC on a full disk, and goes on when there is room again", function()
    local dir <close> = folder()
    local child = run(([[
      local fs, path = require "lilac".fs, %q
      local file = fs.open(path, "w")
      local function try(name, ...)
        local ok, err = pcall(file[name], file, ...)
        print(name, ok, not ok and err.path == path and err.message:gsub(path, "it") or nil)
      end
      file:write(("x"):rep(200000))
      try "flush"
      print(file:seek(), file:stat().size)
      try "flush"
      try("write", ("x"):rep(200000))
      try "close"
      file = fs.open(path, "r+")
      file:setvbuf "no"
      file:seek "end"
      try("write", "x")
      file:truncate(0):seek "set"
      try("write", "room")
      file:seek("set", 65536)
      file:setvbuf("full"):write "x"
      try "sync"
      file:write "x"
      print(select(2, pcall(function() local _ <close> = file end)).code)
    ]]):format(dir / "file"), { env = shim { SHIM_DISK = 65536 } })
    assert.equal("", child.stderr)
    assert.equal(([[
flush	false	flush it: FULL
65536	65536
flush	true	nil
write	true	nil
close	false	close it: FULL
write	false	write it: FULL
write	true	nil
sync	false	sync it: FULL
ENOSPC
]]):gsub("FULL", "no space left on device (ENOSPC)"), child.stdout)
    assert.equal("room", dir:read "file")
  end)

  it("checks its arguments", function()
    local dir <close> = folder()
    local ours <close> = file.open(dir / "file", "w")
    refused("bad argument #3 .*string expected, got nil", ours.write, ours, "x", nil)
    ours:flush()
    assert.equal("", dir:read "file")
    local reader <close> = file.open(dir / "file")
    local err = raises("InvalidStateError", reader.write, reader, "x")
    assert.equal(("write %s: the File was opened for reading"):format(dir / "file"), err.message)
  end)
end)

describe("File:setvbuf", function()
  it("sets when what is written can be seen", function()
    local dir <close> = folder()
    local ours <close> = file.open(dir / "file", "w")
    ours:setvbuf "no"
    ours:write "a"
    assert.equal("a", dir:read "file")
    ours:setvbuf "line"
    ours:write "b"
    assert.equal("a", dir:read "file")
    ours:write("c\n", "d")
    assert.equal("abc\nd", dir:read "file")
    ours:setvbuf("full", 4)
    ours:write "efg"
    assert.equal("abc\nd", dir:read "file")
    ours:write "h"
    ours:write "i" -- waits for its turn behind the first four
    ours:flush()
    assert.equal("abc\ndefghi", dir:read "file")
    refused("invalid option 'some'", ours.setvbuf, ours, "some")
    refused("size must be 1 to", ours.setvbuf, ours, "full", 0)
  end)
end)

describe("File:seek", function()
  it("moves and tells as in io, with reads and writes between", function()
    local dir <close> = folder()
    local text = ("0123456789"):rep(5000)
    local paths = { dir:write("ours", text), dir:write("theirs", text) }
    local ours <close> = file.open(paths[1], "r+")
    local theirs <close> = io.open(paths[2], "r+")
    math.randomseed(5)
    for _ = 1, 400 do
      local what, size = math.random(6), math.random(0, 20000)
      local function both(name, ...)
        assert.same(table.pack(theirs[name](theirs, ...)), table.pack(ours[name](ours, ...)))
      end
      if what == 1 then both("seek", "set", size)
      elseif what == 2 then both("seek", "end", -math.min(size, 50000))
      elseif what == 3 then both("seek")
      elseif what <= 5 then
        theirs:seek "cur" -- C wants it between reads and writes
        both("read", size)
        theirs:seek "cur"
      else
        theirs:seek "cur"
        theirs:write(("w"):rep(size // 10))
        ours:write(("w"):rep(size // 10))
        theirs:seek "cur"
      end
    end
    ours:close()
    theirs:close()
    assert.equal(dir:read "theirs", dir:read "ours")
  end)

  it("refuses what is before the beginning, and what cannot be sought in", function()
    local dir <close> = folder()
    local ours <close> = file.open(dir:write("file", "x"))
    assert.equal("EINVAL", raises("OSError", ours.seek, ours, "set", -1).code)
    assert.equal("EINVAL", raises("OSError", ours.seek, ours, "cur", math.mininteger).code)
    ours:seek("set", math.maxinteger)
    assert.equal("EINVAL", raises("OSError", ours.seek, ours, "cur", 1).code)
    refused("invalid option 'begin'", ours.seek, ours, "begin")
    refused("number has no integer representation", ours.seek, ours, "set", 0.5)
    local null <close> = file.open "/dev/null"
    local err = raises("OSError", null.seek, null)
    assert.equal("seek /dev/null: invalid seek (ESPIPE)", err.message)
  end)

  it("knows where appending has led to", function()
    local dir <close> = folder()
    local path = dir:write("file", "12345")
    local ours <close> = file.open(path, "a")
    assert.equal(5, ours:seek())
    dir:write("file", "1234567")
    ours:write "89"
    assert.equal(9, ours:seek())
  end)
end)

describe("File:truncate and stat", function()
  it("see what was written before", function()
    local dir <close> = folder()
    local ours <close> = file.open(dir / "file", "w+")
    ours:write "hello"
    assert.equal(5, ours:stat().size)
    ours:seek("set", 2)
    assert.equal(ours, ours:truncate())
    assert.equal("he", dir:read "file")
    ours:truncate(4)
    assert.equal("\0\0", ours:read "a")
    local reader <close> = file.open(dir / "file")
    assert.equal("EINVAL", raises("OSError", reader.truncate, reader, 0).code)
    refused("size must be at least 0", ours.truncate, ours, -1)
    refused("size: integer expected", ours.truncate, ours, "x")
  end)

  it("can be cancelled while they wait", function()
    local dir <close> = folder()
    local ours <close> = file.open(dir / "file", "w")
    for _, name in ipairs { "flush", "sync", "truncate", "stat" } do
      ours:write "x"
      local task = lilac.create_task(ours[name], ours)
      lilac.sleep(0)
      task:cancel()
      settle()
      assert.is_true(task:cancelled(), name)
    end
    ours:flush()
    assert.equal("xxxx", dir:read "file")
  end)
end)

describe("File:close", function()
  it("writes what is left, and frees the descriptor once", function()
    local dir <close> = folder()
    local before = descriptors()
    local ours = file.open(dir / "file", "w")
    ours:write "text"
    ours:close()
    assert.equal("text", dir:read "file")
    assert.equal(before, descriptors())
    ours:close()
    assert.equal("File (closed)", (tostring(ours):gsub(": 0x%x+", "")))
    raises("ClosedError", ours.write, ours, "x")
    raises("ClosedError", ours.seek, ours)
  end)

  it("leaves the descriptors alone that others get meanwhile", function()
    local dir <close> = folder()
    local path = fifo(dir)
    local listener <close> = lilac.net.listen("127.0.0.1", 0)
    local function round()
      local reader = file.open(path)
      local writer = file.open(path, "w")
      writer:write("x"):flush()
      assert.equal("x", reader:read(1))
      local closing = { lilac.create_task(reader.close, reader),
        lilac.create_task(writer.close, writer) }
      repeat lilac.sleep(0) until closing[2]:done() or tostring(closing[2]):find "file:close"
      os.execute "sleep 0.01" -- the pool is done before the loop turns
      local client <close> = lilac.tcp.connect("127.0.0.1", listener.port)
      local served <close> = listener:accept()
      served:write "y"
      assert.equal("y", lilac.timeout(10, client.read, client, 1))
      lilac.gather(closing)
    end
    round()
    local before = descriptors()
    for _ = 1, 3 do round() end
    eventually(function() return descriptors() == before end)
  end)

  it("waits for what is going on", function()
    local dir <close> = folder()
    local ours = file.open(dir / "file", "w")
    ours:write "text"
    local task = lilac.create_task(ours.sync, ours)
    lilac.sleep(0)
    ours:close()
    raises("ClosedError", task.await, task)
    assert.equal("text", dir:read "file")
  end)

  it("goes on in the background when it is cancelled", function()
    local dir <close> = folder()
    local before = descriptors()
    local ours = file.open(dir / "file", "w")
    ours:write "text"
    local has_begun = false
    local task = lilac.create_task(function()
      has_begun = true
      ours:close()
    end)
    repeat lilac.sleep(0) until has_begun
    task:cancel()
    lilac.wait { task }
    eventually(function() return descriptors() == before and dir:read "file" == "text" end)
  end)

  it("is done at the end of a scope, also of one that is cancelled", function()
    local dir <close> = folder()
    local task = settle.start(function()
      local ours <close> = file.open(dir / "file", "w")
      ours:write "text"
      lilac.sleep(60)
    end)
    eventually(function() return tostring(task):find "sleep" end)
    task:cancel()
    lilac.wait { task }
    assert.equal("text", dir:read "file")
  end)

  it("is done by the collector, with what is left to write", function()
    local dir <close> = folder()
    local before = descriptors()
    file.open(dir / "file", "w"):write "text"
    collectgarbage()
    collectgarbage()
    eventually(function() return descriptors() == before end)
    assert.equal("text", dir:read "file")
  end)

  it("may come from a finaliser, in the middle of an operation", function()
    local dir <close> = folder()
    dir:write("file", "text")
    local child = run(([[
      local finalise = require "spec.support.finalise"
      local fs = require("lilac").fs
      local reader, writer = fs.open(%q), fs.open(%q, "a")
      local function read() return pcall(reader.read, reader) end
      local function write() return pcall(writer.write, writer, 1, 2, 3) end
      finalise(function() reader:close() end)
      print(read())
      finalise(function() writer:close() end)
      print(write())
    ]]):format(dir / "file", dir / "file"), { limit = 20 })
    assert.equal("false\tClosedError: read: the File is closed\n"
      .. "false\tClosedError: write: the File is closed\n", child.stdout)
  end)

  it("is done at the end of the program", function()
    local dir <close> = folder()
    for _, how in ipairs { "", "os.exit(0)", "error 'oops'" } do
      run(([[
        file = require("lilac").fs.open(%q, "w")
        file:write(%q)
        %s
      ]]):format(dir / "file", "text" .. how, how))
      assert.equal("text" .. how, dir:read "file")
    end
  end)

  it("can be given up by the end of the program", function()
    local dir <close> = folder()
    local path = fifo(dir)
    local child = run(([[
      local fs = require("lilac").fs
      reader, writer = fs.open(%q), fs.open(%q, "w")
      writer:write(("x"):rep(1000000))
    ]]):format(path, path), { limit = 20 })
    assert.same({ 0, "" }, { child.status, child.stderr })
  end)
end)

describe("a FIFO", function()
  it("is opened at once, and read when somebody writes", function()
    local dir <close> = folder()
    local path = fifo(dir)
    local ours <close> = file.open(path)
    local task = settle.start(ours.read, ours)
    assert.is_false(task:done())
    os.execute(("printf 'one\\ntwo' > %s"):format(path))
    assert.equal("one", task:await())
    assert.same({ "two" }, { ours:read("l", "l") })
  end)

  it("holds no thread of the pool", function()
    local dir <close> = folder()
    local path = fifo(dir)
    local tasks, files = {}, {}
    for i = 1, 10 do
      files[i] = file.open(path)
      tasks[i] = settle.start(files[i].read, files[i])
    end
    local other <close> = file.open "/proc/self/status"
    assert.matches("^Name", other:read())
    for i = 1, 10 do
      tasks[i]:cancel()
      files[i]:close()
    end
    lilac.wait(tasks)
  end)

  it("that nobody reads cannot be opened for writing", function()
    local dir <close> = folder()
    assert.equal("ENXIO", raises("OSError", file.open, fifo(dir), "w").code)
  end)

  it("loses nothing when a read is cancelled", function()
    local dir <close> = folder()
    local path = fifo(dir)
    local reader <close> = file.open(path)
    local writer <close> = file.open(path, "w")
    writer:write("hal"):flush()
    local task = settle.start(reader.read, reader)
    task:cancel()
    settle()
    assert.is_true(task:cancelled())
    writer:write("f\n"):flush()
    assert.equal("half", reader:read())
  end)

  it("whose reader is gone raises BrokenPipeError", function()
    local dir <close> = folder()
    local path = fifo(dir)
    local reader = file.open(path)
    local writer <close> = file.open(path, "w")
    reader:close()
    writer:write "x"
    raises("BrokenPipeError", writer.flush, writer)
  end)

  it("is named in a dump, with what is done to it", function()
    local dir <close> = folder()
    local child = run(([[
      local lilac = require "lilac"
      local file = lilac.fs.open(%q)
      for _ = 1, 2 do lilac.create_task(file.read, file) end
      lilac.sleep(0.01)
      lilac.dump()
    ]]):format(fifo(dir)))
    assert.equal(2, select(2, child.stderr:gsub("file:read", "")))
    assert.matches(dir / "fifo", child.stderr, 1, true)
  end)

  it("is a deadlock only when nobody waits for it", function()
    local dir <close> = folder()
    local child = run(([[
      local lilac = require "lilac"
      local file = lilac.fs.open(%q)
      print(lilac.move_on_after(0.01, file.read, file))
      lilac.Future():await()
    ]]):format(fifo(dir)))
    assert.equal("false\n", child.stdout)
    assert.equal(3, child.status)
  end)
end)

describe("a file of 1 GiB", function()
  it("is read in bounded memory", function()
    local dir <close> = folder()
    local path = dir / "sparse"
    os.execute("truncate -s 1G " .. path)
    local child = run(([[
      local lilac = require "lilac"
      local file = lilac.fs.open(%q)
      local size, peak = 0, 0
      for piece in file:lines(65536) do
        size = size + #piece
        if size %% (64 << 20) == 0 then collectgarbage "step" end
      end
      for line in io.lines "/proc/self/status" do
        peak = tonumber(line:match "^VmHWM:%%s*(%%d+)") or peak
      end
      print(size, peak < 64 * 1024 or peak)
    ]]):format(path), { limit = 60 })
    if LILAC:find "asan" then return end -- it keeps what is freed
    assert.equal("1073741824\ttrue\n", child.stdout)
  end)
end)
