local lilac = require "lilac"
local unix = require "lilac.unix"
local background = require "spec.support.background"
local raises = require "spec.support.raises"
local run = require "spec.support.child"
local settle = require "spec.support.settle"

local path

before_each(function()
  path = os.tmpname()
  os.remove(path)
end)

local function shell(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read "a"
  pipe:close()
  return text
end

--- "socket 600", or nil when there is nothing.
local function file_at(name)
  return shell(("stat -c '%%F %%a' %s 2>/dev/null"):format(name)):match "[^\n]+"
end

--- Leaves the file of a socket that nobody listens on.
local function leave_stale(name)
  local child = run(([[
    local listener = require "lilac.unix".listen "%s"
    os.execute "kill -9 $PPID"
  ]]):format(name))
  assert.equal(128 + 9, child.status)
  assert.matches("^socket", file_at(name))
end

describe("unix.connect", function()
  it("connects to a listener, and both ends have names", function()
    local listener <close> = unix.listen(path)
    local stream <close> = unix.connect(path)
    local peer <close> = listener:accept()
    stream:write "hello\n"
    assert.equal("hello", peer:read())
    peer:write "bye\n"
    assert.equal("bye", stream:read())
    assert.same({ path, "", path, "" },
      { stream:peername(), stream:sockname(), peer:sockname(), (peer:peername()) })
    assert.matches("^Stream %(" .. path .. "%): 0x", tostring(stream))
  end)

  it("raises what the system says", function()
    local err = raises("FileNotFoundError", unix.connect, path)
    assert.equal(("connect %s: no such file or directory (ENOENT)"):format(path), err.message)
    raises("ConnectionRefusedError", unix.connect, "Makefile")
    leave_stale(path)
    raises("ConnectionRefusedError", unix.connect, path)
    os.remove(path)
  end)

  it("raises BlockingIOError where the backlog is full", function()
    local listener <close> = unix.listen(path, { backlog = 1 })
    local streams = {}
    local err = raises("BlockingIOError", function()
      for i = 1, 10 do streams[i] = unix.connect(path) end
    end)
    assert.equal("EAGAIN", err.code)
    for _, stream in ipairs(streams) do stream:close() end
    listener:close()
  end)

  it("takes a cancellation that is pending", function()
    local listener <close> = unix.listen(path)
    local task = lilac.create_task(function()
      lilac.current_task():cancel()
      unix.connect(path)
    end)
    raises("CancelledError", task.await, task)
    listener:close()
  end)

  it("says how long a path may be, and takes one that is just so long", function()
    local long = "/tmp/" .. ("x"):rep(103)
    local err = raises("OSError", unix.connect, long)
    assert.equal("ENAMETOOLONG", err.code)
    assert.matches("(108 bytes, and a socket's path has at most 107)", err.message, 1, true)
    raises("FileNotFoundError", unix.connect, long:sub(1, 107))
    local listener <close> = unix.listen(long:sub(1, 107))
    assert.equal(long:sub(1, 107), listener.path)
    local stream <close> = unix.connect(long:sub(1, 107))
    assert.equal(long:sub(1, 107), stream:peername())
  end)

  it("checks its arguments", function()
    assert.error_matches(function() unix.connect() end, "string expected, got no value")
    assert.error_matches(function() unix.connect "" end, "got an empty string")
    assert.error_matches(function() unix.connect "/tmp/a\0b" end, "path contains a zero byte")
    assert.error_matches(function() unix.connect("@x", { mode = 1 }) end,
      "unknown option 'mode'; known: limit")
  end)
end)

describe("an abstract name", function()
  it("begins with @ or a zero byte, and is no file", function()
    local name = "@lilac" .. path:gsub("/", "-")
    local listener <close> = unix.listen(name)
    assert.equal(name, listener.path)
    assert.is_nil(file_at(name))
    for _, form in ipairs { name, "\0" .. name:sub(2) } do
      local stream <close> = unix.connect(form)
      local peer <close> = listener:accept()
      assert.same({ name, name }, { stream:peername(), peer:sockname() })
      raises("AddressInUseError", unix.listen, form)
    end
    listener:close()
    local err = raises("ConnectionRefusedError", unix.connect, name)
    assert.equal(("connect %s: connection refused (ECONNREFUSED)"):format(name), err.message)
  end)

  it("has no mode", function()
    assert.error_matches(function() unix.listen("@x", { mode = "600" }) end,
      "option 'mode': an abstract socket has no file")
  end)
end)

describe("unix.listen", function()
  it("makes a file with the mode, and removes it when it is closed", function()
    for mode, expected in pairs { ["600"] = "600", [6 * 64 + 6 * 8] = "660", ["0777"] = "777" } do
      local listener = unix.listen(path, { mode = mode })
      assert.equal("socket " .. expected, file_at(path))
      listener:close()
      listener:close()
      assert.is_nil(file_at(path))
    end
  end)

  it("removes the file when it is collected, and at the end of the program", function()
    local listener = unix.listen(path) -- luacheck: ignore
    listener = nil
    collectgarbage()
    collectgarbage()
    assert.is_nil(file_at(path))
    local child = run(([[
      local listener = require "lilac.unix".listen "%s"
      print(require "lilac.unix".connect(listener.path):peername())
    ]]):format(path))
    assert.equal(path .. "\n", child.stdout)
    assert.is_nil(file_at(path))
  end)

  it("leaves a file that has taken its place", function()
    local listener = unix.listen(path)
    os.remove(path)
    local second <close> = unix.listen(path)
    listener:close()
    assert.matches("^socket", file_at(path))
    unix.connect(path):close()
    second:close()
    assert.is_nil(file_at(path))
  end)

  it("raises AddressInUseError where somebody listens, also with a full backlog", function()
    local listener <close> = unix.listen(path, { backlog = 1 })
    local streams = {}
    repeat
      local err = raises("AddressInUseError", unix.listen, path)
      assert.equal(("listen %s: address already in use (EADDRINUSE)"):format(path), err.message)
      local ok, stream = pcall(unix.connect, path)
      streams[#streams + 1] = ok and stream or nil
    until not ok
    assert.equal(path, listener.path)
    for _, stream in ipairs(streams) do stream:close() end
  end)

  it("replaces a socket that nobody listens on, and nothing else", function()
    leave_stale(path)
    local listener <close> = unix.listen(path)
    unix.connect(path):close()
    listener:close()
    assert(io.open(path, "w")):close()
    raises("AddressInUseError", unix.listen, path)
    assert.matches("^regular", file_at(path))
    os.remove(path)
    assert(os.execute("ln -s /nowhere " .. path))
    raises("AddressInUseError", unix.listen, path)
    os.remove(path)
  end)

  it("leaves no file behind when it fails", function()
    raises("FileNotFoundError", unix.listen, path .. "/x")
    assert.error_matches(function() unix.listen(path, { backlog = 0 }) end, "option 'backlog'")
    assert.is_nil(file_at(path))
  end)

  it("checks the mode", function()
    for _, mode in ipairs { -1, 512, 1.5, "888", "", "00000", "rw-", true } do
      local ok, err = pcall(unix.listen, path, { mode = mode })
      assert.is_false(ok)
      assert.matches("option 'mode': octal string such as '660', or integer up to 511, expected",
        err, 1, true)
    end
  end)

  it("is served to peers that are no lilac", function()
    local listener <close> = unix.listen(path)
    local job <close> = background(("printf one | nc -U -N %s"):format(path))
    local stream <close> = listener:accept()
    assert.equal("one", stream:read "a")
    stream:write "two":close()
    assert.equal(0, job:wait())
    assert.equal("two", job:output())
  end)
end)

describe("Listener:wait", function()
  it("waits for a connection, and leaves it to accept", function()
    local listener <close> = unix.listen(path)
    local task = settle.start(listener.wait, listener)
    assert.is_false(task:done())
    local stream <close> = unix.connect(path)
    task:await()
    listener:wait()
    stream:write "hello\n"
    local peer <close> = listener:accept()
    assert.equal("hello", peer:read())
  end)

  it("can be cancelled, is ended by close, and refuses a second one", function()
    local listener = unix.listen(path)
    local task = settle.start(listener.wait, listener)
    raises("InvalidStateError", listener.wait, listener)
    raises("InvalidStateError", listener.accept, listener)
    task:cancel()
    settle()
    assert.is_true(task:cancelled())
    task = settle.start(listener.wait, listener)
    listener:close()
    raises("ClosedError", task.await, task)
    raises("ClosedError", listener.wait, listener)
  end)
end)

describe("Stream:peercred", function()
  it("tells the process, user and group at the other end of a Unix socket", function()
    local listener <close> = unix.listen(path)
    local job <close> = background(("exec nc -U %s"):format(path))
    local stream <close> = listener:accept()
    assert.same({ job.pid, tonumber(shell "id -u"), tonumber(shell "id -g") },
      { stream:peercred() })
    stream:close()
    raises("ClosedError", stream.peercred, stream)
  end)

  it("is for Unix sockets alone", function()
    local server <close> = lilac.net.serve("127.0.0.1", 0, function() end)
    local stream <close> = lilac.net.connect("127.0.0.1", server.port)
    assert.equal("ENOTSUP", raises("OSError", stream.peercred, stream).code)
    local reader <close> = lilac.pipe.pair()
    local err = raises("OSError", reader.peercred, reader)
    assert.matches("^peercred pipe %(reading%): socket operation on non%-socket", err.message)
  end)
end)
