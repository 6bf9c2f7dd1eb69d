local lilac = require "lilac"
local tcp = require "lilac.tcp"
local raises = require "spec.support.raises"
local reset = require "spec.support.reset"
local settle = require "spec.support.settle"
local transports = require "spec.support.transports"
local woken = require "spec.support.woken"
local run = require "spec.support.child"

local KIB, MIB = 1024, 1024 * 1024

--- Two streams that are connected to each other. The options are the first one's.
local function pair(options)
  local listener <close> = tcp.listen("127.0.0.1", 0)
  local stream = tcp.connect("127.0.0.1", listener.port, options)
  return stream, listener:accept()
end

--- A stream that has received this, and whose peer has then closed.
local function received(text, options)
  local stream, peer = pair(options)
  peer:write(text)
  peer:close()
  return stream
end

--- A stream whose connection was reset after this was received.
local function reset_after(text)
  local stream, peer = pair()
  stream:write "nobody reads this"
  peer:write(text)
  reset(peer)
  return stream
end

local function subject(stream)
  return ("%s:%d"):format(stream:peername())
end

describe("Stream:read", function()
  it("reads a line without its newline by default", function()
    local stream <close> = received "one\ntwo\r\nthree"
    assert.equal("one", stream:read())
    assert.equal("two\r", stream:read "l")
    assert.equal("three", stream:read "*l")
    assert.is_nil(stream:read())
    assert.is_nil(stream:read())
  end)

  it("reads a line with its newline for L", function()
    local stream <close> = received "one\n\ntwo"
    assert.equal("one\n", stream:read "L")
    assert.equal("\n", stream:read "L")
    assert.equal("two", stream:read "L")
    assert.is_nil(stream:read "L")
  end)

  it("reads all for a, and then the empty string", function()
    local text = ("x"):rep(MIB)
    local stream, peer = pair()
    local task = lilac.create_task(function() peer:write(text) peer:close() end)
    assert.equal(text, stream:read "a")
    assert.equal("", stream:read "a")
    stream:close()
    task:await()
  end)

  it("reads so many bytes for a number, fewer only before the end", function()
    local stream, peer = pair()
    local task = settle.start(function() return stream:read(5), stream:read(5), stream:read(5) end)
    for c in ("abcdefg"):gmatch "." do
      peer:write(c)
      settle()
    end
    peer:close()
    assert.same({ "abcde", "fg" }, { task:await() })
    stream:close()
  end)

  it("tells with 0 whether there is an end, without reading", function()
    local stream <close> = received "x"
    assert.equal("", stream:read(0))
    assert.equal("x", stream:read(1))
    assert.is_nil(stream:read(0))
  end)

  it("reads a line that comes in pieces", function()
    local stream, peer = pair()
    local task = settle.start(stream.read, stream)
    for _, piece in ipairs { "a", "bc", "d\ne" } do
      assert.is_false(task:done())
      peer:write(piece)
      settle()
    end
    assert.equal("abcd", task:await())
    stream:close()
    peer:close()
  end)

  it("keeps the loop from a deadlock only while somebody reads", function()
    local child = run [[
      local tcp = require "lilac.tcp"
      local listener = tcp.listen("127.0.0.1", 0)
      local stream = tcp.connect("127.0.0.1", listener.port)
      local peer = listener:accept()
      peer:write "x"
      stream:read(1)
      require "lilac".Future():await()
    ]]
    assert.equal(3, child.status)
    assert.matches("DeadlockError", child.stderr)
  end)

  it("loses nothing when it is cancelled", function()
    local stream, peer = pair()
    local task = settle.start(stream.read, stream, 6)
    peer:write "abc"
    settle()
    task:cancel()
    settle()
    assert.is_true(task:cancelled())
    peer:write "def"
    assert.equal("abcdef", stream:read(6))
    stream:close()
    peer:close()
  end)

  it("is cancelled also when another took what had woken it", function()
    local stream, peer = pair()
    local reader = settle.start(stream.read, stream)
    peer:write "for one\n"
    if not woken(reader) then return end -- shuffled tasks: it was faster
    assert.equal("for one", stream:read())
    reader:cancel()
    lilac.wait({ reader }, { timeout = 5 })
    assert.is_true(reader:cancelled())
  end)

  it("raises a cancellation at once, though the bytes are there", function()
    local stream <close> = received "abc"
    local task = lilac.create_task(function()
      lilac.current_task():cancel()
      stream:read(1)
    end)
    raises("CancelledError", task.await, task)
    assert.equal("abc", stream:read "a")
  end)

  it("raises ClosedError when another task closes the stream", function()
    local stream, peer = pair()
    local task = settle.start(stream.read, stream)
    stream:close()
    local err = raises("ClosedError", task.await, task)
    assert.equal("ClosedError: read: the Stream is closed", tostring(err))
    peer:close()
  end)

  it("raises ClosedError on a closed stream", function()
    local stream <close> = received "x"
    stream:close()
    stream:close()
    raises("ClosedError", stream.read, stream)
  end)

  it("refuses a second reader, naming both tasks", function()
    local stream, peer = pair()
    local task = settle.start(stream.read, stream)
    task.name = "the first"
    lilac.current_task().name = "the second"
    local err = raises("InvalidStateError", stream.read, stream)
    assert.matches("the first", err.message, 1, true)
    assert.matches("the second", err.message, 1, true)
    assert.matches("^read " .. subject(stream), err.message)
    peer:write "line\n"
    assert.equal("line", task:await())
    stream:close()
    peer:close()
  end)

  it("gives each reader what it asked for, when they take turns", function()
    local stream, peer = pair()
    local first = settle.start(stream.read, stream, "l")
    peer:write "one\ntwo\n"
    settle()
    local second = lilac.create_task(stream.read, stream, "L")
    assert.equal("one", first:await())
    assert.equal("two\n", second:await())
    stream:close()
    peer:close()
  end)

  it("raises a reset after what had arrived before it", function()
    local stream <close> = reset_after "abc"
    assert.equal("abc", stream:read_some())
    local err = raises("ConnectionResetError", stream.read, stream)
    assert.equal("ECONNRESET", err.code)
    assert.equal("read", err.syscall)
    assert.equal(("ConnectionResetError: read %s: connection reset by peer (ECONNRESET)")
      :format(subject(stream)), tostring(err))
    raises("ConnectionResetError", stream.read, stream)
  end)

  it("raises a reset to who waits", function()
    local stream, peer = pair()
    stream:write "nobody reads this"
    local task = settle.start(stream.read, stream)
    peer:close()
    raises("ConnectionResetError", task.await, task)
    stream:close()
  end)

  it("refuses formats that it does not know", function()
    local stream <close> = received ""
    assert.error_matches(function() stream:read "n" end,
      "bad argument #1 to 'read' %(a Stream does not read numbers")
    assert.error_matches(function() stream:read "x" end,
      "bad argument #1 to 'read' %(invalid format%)")
    assert.error_matches(function() stream:read("l", "l") end, "one format at a time")
    assert.error_matches(function() stream:read(-1) end, "must be at least 0, got %-1")
    assert.error_matches(function() stream:read(1.5) end, "integer expected, got 1.5")
    assert.error_matches(function() stream:read {} end, "string expected, got table")
    assert.error_matches(function() stream.read({}) end, "Stream expected, got table")
    assert.error_matches(function() stream.read(io.stdout) end, "Stream expected, got FILE")
  end)
end)

describe("Stream:read_some", function()
  it("reads whatever is there, and nil at the end", function()
    local stream, peer = pair()
    local task = settle.start(stream.read_some, stream)
    peer:write "hello"
    assert.equal("hello", task:await())
    peer:close()
    assert.is_nil(stream:read_some())
    stream:close()
  end)

  it("reads no more than it was asked for", function()
    local stream <close> = received "abcdef"
    assert.equal("ab", stream:read_some(2))
    assert.equal("cd", stream:read_some(2))
    assert.equal("ef", stream:read_some(100))
  end)

  it("loses nothing when it is cancelled", function()
    local stream, peer = pair()
    local task = settle.start(stream.read_some, stream)
    task:cancel()
    settle()
    peer:write "abc"
    assert.equal("abc", stream:read_some())
    stream:close()
    peer:close()
  end)

  it("raises ClosedError when another task closes the stream", function()
    local stream, peer = pair()
    local task = settle.start(stream.read_some, stream)
    stream:close()
    raises("ClosedError", task.await, task)
    peer:close()
  end)

  it("wants at least one byte", function()
    local stream <close> = received ""
    assert.error_matches(function() stream:read_some(0) end, "must be at least 1, got 0")
    assert.error_matches(function() stream:read_some "x" end, "integer expected")
  end)

  it("cannot wait in a callback, which never depends on what is there", function()
    local stream <close> = received "abc"
    stream:read(1)
    local ok, err = pcall(table.sort, { 1, 2 }, function() return stream:read_some() end)
    assert.is_false(ok)
    assert.matches("sort", tostring(err))
  end)
end)

describe("Stream:read_exactly", function()
  it("reads just so many bytes, also more than the limit of a line", function()
    local text = ("0123456789abcdef"):rep(MIB // 16)
    local stream, peer = pair { limit = KIB }
    local task = lilac.create_task(peer.write, peer, text, "rest")
    assert.equal(text, stream:read_exactly(MIB))
    assert.equal("", stream:read_exactly(0))
    assert.equal("rest", stream:read_exactly(4))
    task:await()
    stream:close()
    peer:close()
  end)

  it("raises IncompleteReadError with what was there, also at a clean end", function()
    local stream <close> = received "abc"
    local err = raises("IncompleteReadError", stream.read_exactly, stream, 5)
    assert.equal("abc", err.partial)
    assert.equal(("read %s: the stream ended after 3 of 5 bytes"):format(subject(stream)),
      err.message)
    err = raises("IncompleteReadError", stream.read_exactly, stream, 5)
    assert.equal("", err.partial)
  end)

  it("wants a number of bytes", function()
    local stream <close> = received ""
    assert.error_matches(function() stream:read_exactly() end, "integer expected, got no value")
    assert.error_matches(function() stream:read_exactly(math.maxinteger) end,
      "number of bytes must be 0 to 1152921504606846975, got 9223372036854775807")
  end)
end)

describe("Stream:read_until", function()
  it("reads up to the separator, which it includes", function()
    local stream <close> = received "a: 1\r\n\r\nbody"
    assert.equal("a: 1\r\n\r\n", stream:read_until "\r\n\r\n")
    assert.equal("body", stream:read "a")
    assert.is_nil(stream:read_until "\r\n")
  end)

  it("finds a separator that comes in pieces, and one with zeros in it", function()
    local stream, peer = pair()
    local task = settle.start(stream.read_until, stream, "\0ab")
    for c in ("x\0\0a\0ab!"):gmatch "." do
      peer:write(c)
      settle()
    end
    assert.equal("x\0\0a\0ab", task:await())
    assert.equal("!", stream:read_some())
    stream:close()
    peer:close()
  end)

  it("raises IncompleteReadError when the stream ends without one", function()
    local stream <close> = received "abc"
    local err = raises("IncompleteReadError", stream.read_until, stream, ";")
    assert.equal("abc", err.partial)
    assert.is_nil(stream:read_until ";")
  end)

  it("wants a separator", function()
    local stream <close> = received ""
    assert.error_matches(function() stream:read_until "" end, "got an empty string")
    assert.error_matches(function() stream:read_until() end, "string expected, got no value")
  end)
end)

describe("a limit", function()
  it("lets a line through that is just as long", function()
    local line = ("x"):rep(100)
    local stream <close> = received(line .. "\n" .. line .. "yy\n", { limit = 100 })
    assert.equal(line, stream:read())
    raises("LimitOverrunError", stream.read, stream)
    assert.equal(line .. "yy\n", stream:read "a")
  end)

  it("is 64 KiB by default, and leaves the data to be read otherwise", function()
    local text = ("x"):rep(100 * KIB)
    local stream, peer = pair()
    local task = lilac.create_task(peer.write, peer, text, "\n")
    local err = raises("LimitOverrunError", stream.read, stream)
    assert.matches("within the limit of 65536 bytes", err.message, 1, true)
    raises("LimitOverrunError", stream.read_until, stream, "\n")
    assert.equal(text, stream:read(#text))
    assert.equal("", stream:read())
    task:await()
    stream:close()
    peer:close()
  end)

  it("bounds what a stream holds that nobody reads, and the writer waits", function()
    local stream, peer = pair()
    peer:write "x"
    stream:read(1) -- from now on it reads ahead
    local block, count = ("x"):rep(64 * KIB), 0
    local task = settle.start(function()
      for _ = 1, 2000 do
        peer:write(block)
        count = count + 1
      end
      peer:close()
    end)
    lilac.sleep(0.05)
    local accepted = count
    lilac.sleep(0.05)
    assert.equal(accepted, count, "the writer did not wait")
    assert.is_true(accepted < 500, "more than the system's buffers hold")
    local size = 0
    for data in function() return stream:read_some() end do size = size + #data end
    assert.equal(2000 * #block, size)
    task:await()
    stream:close()
  end)
end)

describe("Stream:lines", function()
  it("iterates over the lines, and does not close the stream", function()
    local stream <close> = received "a\nb\n\nc"
    local lines = {}
    for line in stream:lines() do lines[#lines + 1] = line end
    assert.same({ "a", "b", "", "c" }, lines)
    assert.is_nil(stream:read())
  end)

  it("takes the formats of read", function()
    local stream <close> = received "abcde"
    local pieces = {}
    for piece in stream:lines(2) do pieces[#pieces + 1] = piece end
    assert.same({ "ab", "cd", "e" }, pieces)
    assert.error_matches(function() stream:lines "n" end, "bad argument #1 to 'lines'")
  end)

  it("raises ClosedError when the stream is closed in the loop", function()
    local stream <close> = received "a\nb\n"
    raises("ClosedError", function()
      for _ in stream:lines() do stream:close() end
    end)
  end)
end)

describe("Stream:write", function()
  it("writes strings and numbers like io, and returns the stream", function()
    local stream, peer = pair()
    assert.equal(stream, stream:write("a", 1, 2.5, "", "\0"))
    assert.equal(stream, stream:write())
    stream:write "b":write "c":close()
    assert.equal("a12.5\0bc", peer:read "a")
    peer:close()
  end)

  it("writes more pieces than one system call takes", function()
    local pieces = {}
    for i = 1, 200 do pieces[i] = i .. " " end
    local stream, peer = pair()
    stream:write(table.unpack(pieces)):close()
    assert.equal(table.concat(pieces), peer:read "a")
    peer:close()
  end)

  it("parks above the high-water mark until the peer has read", function()
    local text = ("0123456789abcdef"):rep(MIB)
    local stream, peer = pair()
    local task = settle.start(stream.write, stream, text)
    assert.is_false(task:done())
    assert.equal(text, peer:read_exactly(#text))
    task:await()
    stream:close()
    peer:close()
  end)

  it("keeps the bytes of each call together, in the order of the calls", function()
    local stream, peer = pair()
    local size, tasks, expected = 6 * MIB, {}, {}
    for i = 1, 4 do
      expected[i] = tostring(i):rep(size)
      tasks[i] = lilac.create_task(stream.write, stream, expected[i])
      settle()
    end
    for i = 1, 4 do assert.equal(expected[i], peer:read_exactly(size)) end
    for i = 1, 4 do tasks[i]:await() end
    stream:close()
    peer:close()
  end)

  it("sends all that it accepted when it is cancelled", function()
    local text = ("0123456789abcdef"):rep(MIB)
    local stream, peer = pair()
    local task = settle.start(stream.write, stream, text)
    task:cancel()
    settle()
    assert.is_true(task:cancelled())
    local second = lilac.create_task(stream.write, stream, "!")
    assert.equal(text, peer:read_exactly(#text))
    assert.equal("!", peer:read(1))
    second:await()
    stream:close()
    peer:close()
  end)

  it("raises ClosedError when another task closes the stream, and what it accepted is sent",
    function()
      local text = ("0123456789abcdef"):rep(MIB)
      local stream, peer = pair()
      local task = settle.start(stream.write, stream, text)
      stream:close()
      raises("ClosedError", task.await, task)
      assert.is_true(text == peer:read "a")
      peer:close()
    end)

  it("raises a broken pipe at this write or the next", function()
    local stream <close>, peer = pair()
    peer:close()
    local err = raises("OSError", function()
      for _ = 1, 100 do
        stream:write "x"
        settle()
      end
    end)
    assert.is_true(err.code == "EPIPE" or err.code == "ECONNRESET")
    assert.matches("^write " .. subject(stream), err.message)
    raises("OSError", stream.write, stream, "x")
    raises("OSError", stream.flush, stream)
    raises("OSError", stream.shutdown, stream)
  end)

  it("raises a reset to who waits", function()
    local stream, peer = pair()
    local task = settle.start(stream.write, stream, ("x"):rep(16 * MIB))
    peer:close()
    raises("OSError", task.await, task)
    stream:close()
  end)

  it("takes strings and numbers only, and sends nothing before it has checked all", function()
    local stream, peer = pair()
    assert.error_matches(function() stream:write("a", {}) end,
      "bad argument #2 to 'write' %(string expected, got table%)")
    assert.error_matches(function() stream:write(nil) end, "string expected, got nil")
    stream:close()
    assert.equal("", peer:read "a")
    peer:close()
    raises("ClosedError", stream.write, stream, "x")
  end)
end)

describe("Stream:write while there is input to be read", function()
  local REQUESTS = 100

  --- How many times this process has called write(2), as it does for a Unix socket; send(2) is not
  --- counted.
  local function writes()
    local file <close> = assert(io.open "/proc/self/io")
    return tonumber(file:read("a"):match "syscw: (%d+)")
  end

  local unix_pair = transports["an abstract Unix socket"].pair

  --- A stream that has received so many lines, has read the first, and its peer.
  local function asked(make_pair)
    local stream, peer = make_pair()
    peer:write(("?\n"):rep(REQUESTS))
    assert.equal("?", stream:read())
    return stream, peer
  end

  it("gathers the answers, and sends them together", function()
    local stream, peer = asked(unix_pair)
    local before = writes()
    for _ = 2, REQUESTS do
      stream:write("!\n")
      assert.equal("?", stream:read())
    end
    stream:write "!\n"
    assert.equal(("!\n"):rep(REQUESTS), peer:read_exactly(2 * REQUESTS))
    assert.is_true(writes() - before < REQUESTS / 2, writes() - before)
    stream:close()
    peer:close()
  end)

  it("does nothing for what is empty, with input or without", function()
    local stream, peer = asked(unix_pair)
    local before = writes()
    for _ = 1, REQUESTS do
      stream:write("", "")
      peer:write ""
    end
    lilac.sleep(0)
    assert.is_true(writes() - before < REQUESTS / 2, writes() - before)
    stream:close()
    peer:close()
  end)

  it("sends them in the same turn when the task waits for something else", function()
    local stream, peer = asked(pair)
    stream:write "first "
    stream:write "second"
    assert.equal("first second", peer:read_exactly(12))
    assert.equal("?", stream:read())
    stream:close()
    peer:close()
  end)

  it("sends them before a flush, a shutdown, an end, and a long write", function()
    local long = ("x"):rep(MIB)
    for _, finish in ipairs {
      function(stream) stream:flush() end,
      function(stream) stream:shutdown() end,
      function(stream) stream:close() end,
      function(stream) stream:write(long) end,
      function(stream) for i = 1, MIB, KIB do stream:write(long:sub(i, i + KIB - 1)) end end,
    } do
      local stream, peer = asked(pair)
      stream:write "answer"
      local task = lilac.create_task(finish, stream)
      assert.equal("answer", peer:read_exactly(6))
      if not pcall(lilac.timeout, 0.01, task.await, task) then peer:read_exactly(MIB) end
      task:await()
      stream:close()
      peer:close()
    end
  end)

  it("raises at a later write when the peer is gone", function()
    local stream = reset_after "one\ntwo\nthree\n"
    assert.equal("one", stream:read())
    local ok, err
    for _ = 1, 100 do
      ok, err = pcall(stream.write, stream, "answer")
      if not ok then break end
      lilac.sleep(0)
    end
    assert.is_false(ok)
    assert.is_true(lilac.errors.is(err, "ConnectionError"), tostring(err))
    stream:close()
  end)
end)

describe("Stream:flush", function()
  it("waits until all that was written is with the system", function()
    local stream, peer = pair()
    local text = ("x"):rep(16 * MIB)
    local writer = settle.start(stream.write, stream, text)
    local task = settle.start(stream.flush, stream)
    assert.is_false(task:done())
    assert.equal(#text, #peer:read_exactly(#text))
    task:await()
    writer:await()
    stream:flush()
    stream:close()
    peer:close()
  end)

  it("can be cancelled, and is woken by close", function()
    local stream, peer = pair()
    local writer = settle.start(stream.write, stream, ("x"):rep(16 * MIB))
    local first, second = settle.start(stream.flush, stream), settle.start(stream.flush, stream)
    first:cancel()
    settle()
    assert.is_true(first:cancelled())
    stream:close()
    raises("ClosedError", second.await, second)
    raises("ClosedError", writer.await, writer)
    peer:close()
  end)
end)

describe("Stream:shutdown", function()
  it("ends the sending direction after what is queued; reading goes on", function()
    local stream, peer = pair()
    local text = ("0123456789abcdef"):rep(MIB)
    local writer = settle.start(stream.write, stream, text)
    local task = settle.start(stream.shutdown, stream)
    assert.is_false(task:done())
    assert.is_true(text == peer:read "a")
    task:await()
    writer:await()
    peer:write "answer\n"
    assert.equal("answer", stream:read())
    stream:shutdown()
    stream:close()
    peer:close()
  end)

  it("refuses what is written after it", function()
    local stream, peer = pair()
    stream:shutdown()
    local err = raises("InvalidStateError", stream.write, stream, "x")
    assert.equal(("write %s: the Stream was shut down"):format(subject(stream)), err.message)
    assert.is_nil(peer:read())
    stream:close()
    peer:close()
  end)

  it("still happens when who asked for it is cancelled", function()
    local stream, peer = pair()
    local size = 16 * MIB
    local writer = settle.start(stream.write, stream, ("x"):rep(size))
    local task = settle.start(stream.shutdown, stream)
    task:cancel()
    settle()
    assert.is_true(task:cancelled())
    assert.equal(size, #peer:read "a")
    writer:await()
    stream:close()
    peer:close()
  end)

  it("raises ClosedError when another task closes the stream", function()
    local stream, peer = pair()
    local writer = settle.start(stream.write, stream, ("x"):rep(16 * MIB))
    local task = settle.start(stream.shutdown, stream)
    stream:close()
    raises("ClosedError", task.await, task)
    raises("ClosedError", writer.await, writer)
    raises("ClosedError", stream.shutdown, stream)
    peer:close()
  end)
end)

describe("Stream:close", function()
  it("happens at the end of the scope", function()
    local stream, peer = pair()
    do
      local _ <close> = stream
    end
    assert.is_nil(peer:read())
    raises("ClosedError", stream.read, stream)
    peer:close()
  end)

  it("happens when the stream is collected", function()
    local stream, peer = pair()
    stream:write "bye"
    stream = nil -- luacheck: ignore
    collectgarbage()
    collectgarbage()
    assert.equal("bye", peer:read "a")
    peer:close()
  end)

  it("does not let a peer that reads nothing hold the end of the program", function()
    local listener <close> = tcp.listen("127.0.0.1", 0) -- its backlog accepts, and nobody reads
    local began = os.time()
    local child = run([[
      local lilac, tcp = require "lilac", require "lilac.tcp"
      local stream = tcp.connect("127.0.0.1", math.tointeger(arg[1]))
      local task = lilac.create_task(pcall, stream.write, stream, ("x"):rep(1 << 25))
      lilac.sleep(0.01)
      stream:close()
      assert(not task:await())
      print "closed"
    ]], { args = tostring(listener.port) })
    assert.same({ "closed\n", "", 0 }, { child.stdout, child.stderr, child.status })
    assert.is_true(os.time() - began < 10)
  end)

  it("lets a peer that reads have all of it, though the program ends", function()
    local listener <close> = tcp.listen("127.0.0.1", 0)
    local source = [[
      local lilac, tcp = require "lilac", require "lilac.tcp"
      local stream = tcp.connect("127.0.0.1", math.tointeger(arg[1]))
      lilac.create_task(pcall, stream.write, stream, ("x"):rep(1 << 24))
      lilac.sleep(0.001)
      stream:close()
    ]]
    local name = os.tmpname()
    local file <close> = assert(io.open(name, "w"))
    file:write(source)
    file:flush()
    local lilac_path = os.getenv "LILAC" or "build/lilac"
    assert(os.execute(("%s %s %d &"):format(lilac_path, name, listener.port)))
    local peer <close> = listener:accept()
    assert.equal(1 << 24, #peer:read "a")
    os.remove(name)
  end)
end)

describe("a Stream", function()
  it("names both of its ends", function()
    local stream, peer = pair()
    local host, port = stream:sockname()
    assert.equal("127.0.0.1", host)
    assert.same({ host, port }, { peer:peername() })
    assert.same({ stream:peername() }, { peer:sockname() })
    assert.equal("integer", math.type(port))
    stream:close()
    raises("ClosedError", stream.peername, stream)
    raises("ClosedError", stream.sockname, stream)
    peer:close()
  end)

  it("shows its peer, and whether it is closed", function()
    local stream, peer = pair()
    assert.matches("^Stream %(" .. subject(stream) .. "%): 0x", tostring(stream))
    stream:close()
    assert.matches("^Stream %(closed%): 0x", tostring(stream))
    peer:close()
  end)
end)
