-- What is true of every Stream, whatever is under it: see spec/support/transports.lua. The files of
-- a transport have specs of what is its own. LILAC_LOAD=1 (make load) moves a GiB instead of a few
-- MiB.

local lilac = require "lilac"
local raises = require "spec.support.raises"
local reset = require "spec.support.reset"
local settle = require "spec.support.settle"
local transports = require "spec.support.transports"

local KIB, MIB = 1024, 1024 * 1024
local BIG = os.getenv "LILAC_LOAD" and 1024 * MIB or 64 * MIB
local SANITIZED = (os.getenv "LILAC" or ""):find "asan" -- ASan keeps what is freed
local BUFFERED = 16 * MIB -- more than lilac and the system's buffers hold together
local LONG = ("0123456789abcdef"):rep(BUFFERED // 16)

local names = {}
for name in pairs(transports) do names[#names + 1] = name end
table.sort(names)

local function resident()
  local file <close> = assert(io.open "/proc/self/status")
  return tonumber(file:read("a"):match "VmRSS:%s*(%d+) kB") * KIB
end

--- A function that gives the blocks of a long text, each of them different.
local function blocks(count)
  local rest = ("x"):rep(64 * KIB - 8)
  local i = 0
  return function()
    i = i + 1
    return i <= count and ("%07d "):format(i) .. rest or nil
  end
end

local function write_blocks(stream, count)
  for block in blocks(count) do stream:write(block) end
  stream:close()
end

local function describe_transport(name, transport)
  local pair, endless = transport.pair, transport.endless

  --- The rest, of so many bytes.
  local function read_rest(stream, count)
    if endless then return stream:read_exactly(count) end
    return stream:read "a"
  end

  --- Both ends, which are closed with the third.
  local function open(options)
    local a, b, also = pair(options)
    return a, b, setmetatable({}, { __close = function()
      a:close()
      b:close()
      if also then also:close() end
    end })
  end

  local function names_of_two(err)
    assert.matches("task 'the first'", err.message, 1, true)
    assert.matches("task 'the second'", err.message, 1, true)
  end

  describe(name, function()
    setup(transport.setup or function() end)
    teardown(transport.teardown or function() end)

    --- Long messages of one size become strings where the system has put them.
    it("gives what was written, in messages of one size and of others", function()
      local a, b, _ <close> = open()
      local sizes, written, read = {}, {}, {}
      for i, size in ipairs {4095, 4096, 16 * KIB, 64 * KIB, 64 * KIB + 1} do
        for turn = 1, 20 do sizes[#sizes + 1] = turn < 16 and size or size + turn * i - 60 end
      end
      for i, size in ipairs(sizes) do
        written[i] = ("%07d "):format(i):rep(size // 8 + 1):sub(1, size)
        a:write(written[i])
        local left, pieces = size, {}
        while left > 0 do
          local piece = b:read_some(i % 3 == 0 and left or nil)
          pieces[#pieces + 1], left = piece, left - #piece
        end
        read[i] = table.concat(pieces)
        if i % 10 == 0 then collectgarbage() end
      end
      for i, message in ipairs(written) do assert.is_true(read[i] == message) end
    end)

    it("is read in every format", function()
      local a, b, _ <close> = open()
      a:write("one\ntwo\nthree\r\n\n", 12, "345;678\n", "the rest\nof it\nall")
      if not endless then a:shutdown() end
      assert.equal("one", b:read())
      assert.equal("two\n", b:read "L")
      assert.equal("three\r\n\n", b:read_until "\n\n")
      assert.equal("12", b:read(2))
      assert.equal("345;", b:read_until ";")
      assert.equal("", b:read(0))
      assert.equal("678\n", b:read_exactly(4))
      local lines = b:lines()
      assert.equal("the rest", lines())
      assert.equal("of", b:read_some(2))
      assert.equal(" it\nall", read_rest(b, 7))
      if endless then return end
      assert.equal("", b:read "a")
      for _, format in ipairs { "l", "L", 1, 0 } do assert.is_nil(b:read(format)) end
      assert.is_nil(b:read_some())
      assert.is_nil(b:read_until "x")
      assert.is_nil(lines())
      assert.equal("", raises("IncompleteReadError", b.read_exactly, b, 1).partial)
    end)

    it("waits for the rest of what comes in pieces", function()
      local a, b, _ <close> = open()
      local task = settle.start(function()
        return b:read "l", b:read(4), b:read_until "\r\n", b:read_exactly(3), read_rest(b, 4)
      end)
      for c in ("line\n1234end\r\nxyzlast"):gmatch "." do
        a:write(c)
        settle()
      end
      if not endless then a:shutdown() end
      assert.same({ "line", "1234", "end\r\n", "xyz", "last" }, { task:await() })
    end)

    it("tells what is missing at the end", function()
      if endless then return end
      local a, b, _ <close> = open()
      a:write "abc"
      a:shutdown()
      assert.equal("abc", raises("IncompleteReadError", b.read_exactly, b, 4).partial)
    end)

    it("has a limit for lines", function()
      local limit = transport.limit or 10
      local a, b, _ <close> = open { limit = limit }
      local writer = settle.start(a.write, a, ("x"):rep(limit + 1), "\n")
      raises("LimitOverrunError", b.read, b)
      raises("LimitOverrunError", b.read_until, b, "\n")
      assert.equal(("x"):rep(limit + 1), b:read_exactly(limit + 1))
      assert.equal("", b:read())
      writer:await()
    end)

    it("ends in one direction by shutdown, after what was written", function()
      if endless then return end
      local a, b, _ <close> = open()
      local text = ("0123456789abcdef"):rep(64 * KIB)
      local writer = settle.start(a.write, a, text)
      local task = settle.start(a.shutdown, a)
      assert.is_true(text == b:read "a")
      writer:await()
      task:await()
      a:shutdown()
      raises("InvalidStateError", a.write, a, "more")
      if transport.one_way then return end
      b:write "answer\n"
      assert.equal("answer", a:read())
    end)

    it("carries both directions at once", function()
      if transport.one_way then return end
      local a, b, _ <close> = open()
      local text = ("0123456789abcdef"):rep(64 * KIB)
      local there, back = lilac.gather(
        function() return b:read_exactly(#text) end,
        function() return a:read_exactly(#text) end,
        function() a:write(text) end, function() b:write(text) end)
      assert.is_true(there == text and back == text)
    end)

    it("lets the writer wait for a slow reader, and holds only its buffers #native", function()
      local a, b, _ <close> = open()
      local written = 0
      local writer = lilac.create_task(function()
        for block in blocks(BIG // (128 * KIB)) do
          a:write(block)
          written = written + #block
        end
        a:close()
      end)
      collectgarbage()
      local before, most, got = resident(), 0, 0
      while not (endless and got == BIG // 2) do
        local data = b:read_some(32 * KIB)
        if not data then break end
        got = got + #data
        assert.is_true(written - got <= BUFFERED)
        if got // (2 * MIB) > (got - #data) // (2 * MIB) then
          settle() -- the writer goes as far as it can
          collectgarbage()
          most = math.max(most, resident())
        end
      end
      writer:await()
      assert.equal(BIG // 2, got)
      assert.is_true(SANITIZED ~= nil or most - before < BUFFERED,
        ("%d KiB more"):format((most - before) // KIB))
    end)

    it("carries a lot, unchanged", function()
      local a, b, _ <close> = open()
      local writer = lilac.create_task(write_blocks, a, BIG // (64 * KIB))
      for block in blocks(BIG // (64 * KIB)) do
        if block ~= b:read_exactly(#block) then error "changed" end
      end
      if not endless then assert.is_nil(b:read_some()) end
      writer:await()
    end)

    it("flushes", function()
      local a, b, _ <close> = open()
      local writer = settle.start(a.write, a, LONG)
      local task = settle.start(a.flush, a)
      assert.is_false(task:done())
      assert.equal(BUFFERED, #b:read_exactly(BUFFERED))
      task:await()
      writer:await()
    end)

    it("raises ClosedError to the reader when it is closed", function()
      local _, b, _ <close> = open()
      local task = settle.start(b.read, b)
      b:close()
      b:close()
      raises("ClosedError", task.await, task)
      raises("ClosedError", b.read, b)
    end)

    it("raises ClosedError to the writer when it is closed, and sends what it accepted", function()
      local a, b, _ <close> = open()
      local writer = settle.start(a.write, a, LONG)
      local flusher = settle.start(a.flush, a)
      a:close()
      raises("ClosedError", writer.await, writer)
      raises("ClosedError", flusher.await, flusher)
      raises("ClosedError", a.write, a, "x")
      assert.equal(BUFFERED, #read_rest(b, BUFFERED))
    end)

    it("loses nothing when a read is cancelled", function()
      local a, b, _ <close> = open()
      for _, read in ipairs { b.read, b.read_some } do
        local task = settle.start(read, b)
        task:cancel()
        raises("CancelledError", task.await, task)
      end
      local task = settle.start(b.read_exactly, b, 6)
      a:write "abc"
      settle()
      task:cancel()
      raises("CancelledError", task.await, task)
      a:write "def"
      assert.equal("abcdef", b:read_exactly(6))
    end)

    it("sends all that a cancelled write had accepted", function()
      local a, b, _ <close> = open()
      local task = settle.start(a.write, a, LONG)
      task:cancel()
      raises("CancelledError", task.await, task)
      local second = lilac.create_task(a.write, a, "!")
      assert.equal(BUFFERED, #b:read_exactly(BUFFERED))
      assert.equal("!", b:read(1))
      second:await()
    end)

    it("refuses a second reader, naming both tasks", function()
      local a, b, _ <close> = open()
      local task = settle.start(b.read, b)
      task.name = "the first"
      lilac.current_task().name = "the second"
      names_of_two(raises("InvalidStateError", b.read, b))
      a:write "line\n"
      assert.equal("line", task:await())
    end)

    it("gives the reader what a closed peer had written, and then the end", function()
      if endless then return end
      local a, b, _ <close> = open()
      local task = settle.start(function() return b:read "l", b:read "l" end)
      a:write "last"
      a:close()
      assert.same({ "last" }, { task:await() })
    end)

    it("raises to the writer when the peer is closed", function()
      if endless then return end
      local a, b, _ <close> = open()
      local writer = settle.start(a.write, a, LONG)
      b:close()
      local err = raises("ConnectionError", writer.await, writer)
      assert.is_true(err.code == "EPIPE" or err.code == "ECONNRESET", err.code)
      assert.matches("^write ", err.message)
      raises("ConnectionError", a.write, a, "x")
      raises("ConnectionError", a.flush, a)
      raises("ConnectionError", a.shutdown, a)
    end)

    it("raises a broken pipe at a write after the peer was closed, or the next", function()
      if endless then return end
      local a, b, _ <close> = open()
      b:close()
      raises("ConnectionError", function()
        local _ <close> = lilac.timeout(10) -- a child ends in its own time
        while true do
          a:write "x"
          lilac.sleep(0.001)
        end
      end)
    end)

    it("raises a reset to the reader, after what had arrived", function()
      if not transport.resets then return end
      local a, b, _ <close> = open()
      a:write "nobody reads this"
      b:write "abc"
      reset(b)
      assert.equal("abc", a:read(3))
      local err = raises("ConnectionResetError", a.read, a)
      assert.matches("^read .+: connection reset by peer", err.message)
      raises("ConnectionResetError", a.read, a)
    end)

    it("gives the reader what arrived and the end, though its peer has not read all", function()
      if transport.one_way then return end
      local a, b, _ <close> = open()
      a:write "nobody reads this"
      b:write "last words"
      b:close()
      assert.equal("last words", a:read "a")
      assert.is_nil(a:read())
    end)

    it("raises a reset to the reader that waits", function()
      if not transport.resets then return end
      local a, b, _ <close> = open()
      a:write "nobody reads this"
      local task = settle.start(a.read, a)
      b:close()
      raises("ConnectionResetError", task.await, task)
    end)

    it("has names, or empty ones, and shows what it is", function()
      local a, b, _ <close> = open()
      for _, stream in ipairs { a, b } do
        assert.equal("string", type((stream:peername())))
        assert.equal("string", type((stream:sockname())))
        assert.matches("^Stream %(.+%): 0x", tostring(stream))
        stream:close()
        assert.matches("^Stream %(closed%): 0x", tostring(stream))
        raises("ClosedError", stream.peername, stream)
      end
    end)

    it("is closed when it is collected", function()
      local a, b, also = pair()
      if also then return also:close() end -- which holds them
      a:write "bye"
      a = nil -- luacheck: ignore
      collectgarbage()
      collectgarbage()
      assert.equal("bye", b:read "a")
      b:close()
    end)
  end)
end

for _, name in ipairs(names) do describe_transport(name, transports[name]) end
