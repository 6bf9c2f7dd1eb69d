local lilac = require "lilac"
local tcp = require "lilac.tcp"
local descriptors = require "spec.support.descriptors"
local eventually = require "spec.support.eventually"
local raises = require "spec.support.raises"
local refused = require "spec.support.refused"
local run = require "spec.support.child"
local settle = require "spec.support.settle"

--- A listener whose backlog is full, so that who connects to it waits; and what fills it.
local function full_listener()
  local listener = tcp.listen("127.0.0.1", 0, { backlog = 1 })
  local streams, last = {}
  repeat
    last = settle.start(tcp.connect, "127.0.0.1", listener.port)
    lilac.sleep(0.01)
    if last:done() then streams[#streams + 1] = last:await() end
  until not last:done()
  return listener, last, streams
end

--- Two ends of a connection.
local function pair(connect_options, listen_options)
  local listener <close> = tcp.listen("127.0.0.1", 0, listen_options)
  local stream = tcp.connect("127.0.0.1", listener.port, connect_options)
  return stream, listener:accept()
end

--- What a program in Python says that is given the socket of a stream, as `s`, and its status.
local function with_socket(stream, source)
  local result = lilac.process.run { "python3", "-c",
    "import socket, sys\ns = socket.socket(fileno=0)\n" .. source, stdin = stream }
  assert.equal("", result.stderr)
  return result.stdout, result.code
end

local function close_all(streams)
  for _, stream in ipairs(streams) do stream:close() end
end

describe("tcp.connect", function()
  it("connects to a numeric address, IPv4 or IPv6", function()
    for _, host in ipairs { "127.0.0.1", "::1" } do
      local ok, listener = pcall(tcp.listen, host, 0)
      if ok then
        local stream = tcp.connect(host, listener.port)
        local peer = listener:accept()
        assert.same({ host, listener.port }, { stream:peername() })
        stream:write "hello":close()
        assert.equal("hello", peer:read "a")
        peer:close()
        listener:close()
      end
    end
  end)

  it("raises ConnectionRefusedError where nobody listens", function()
    local err = raises("ConnectionRefusedError", tcp.connect, "127.0.0.1", 1)
    assert.equal("ConnectionRefusedError: connect 127.0.0.1:1: connection refused (ECONNREFUSED)",
      tostring(err))
    assert.same({ "ECONNREFUSED", "connect" }, { err.code, err.syscall })
    assert.equal("integer", math.type(err.errno))
  end)

  it("raises what the system says at once", function()
    local err = raises("OSError", tcp.connect, "255.255.255.255", 80)
    assert.matches("^connect 255.255.255.255:80: ", err.message)
  end)

  it("can be cancelled while it waits", function()
    local listener, task, streams = full_listener()
    task:cancel()
    settle()
    assert.is_true(task:cancelled())
    close_all(streams)
    listener:close()
  end)

  it("is given up by a timeout", function()
    local listener, task, streams = full_listener()
    raises("TimeoutError", lilac.wait_for, task, 0.01)
    close_all(streams)
    listener:close()
  end)

  it("connects from an address that was asked for", function()
    local listener <close> = tcp.listen("127.0.0.1", 0)
    local stream <close> = tcp.connect("127.0.0.1", listener.port, { local_addr = "127.0.0.2" })
    assert.equal("127.0.0.2", (stream:sockname()))
    raises("OSError", tcp.connect, "127.0.0.1", listener.port, { local_addr = "192.0.2.1" })
  end)

  it("takes socket options", function()
    local listener <close> = tcp.listen("127.0.0.1", 0)
    for _, options in ipairs { { nodelay = false }, { keepalive = true }, { keepalive = 10 },
      { keepalive = false, limit = 1 } } do
      tcp.connect("127.0.0.1", listener.port, options):close()
    end
  end)

  it("checks its arguments", function()
    local function fails(pattern, ...) refused(pattern, tcp.connect, ...) end
    fails("numeric address expected, got 'localhost'", "localhost", 80)
    fails("string expected, got nil", nil, 80)
    fails("port must be 1 to 65535, got 0", "127.0.0.1", 0)
    fails("port: integer expected, got string", "127.0.0.1", "x")
    fails("unknown option 'tls'; known: nodelay", "127.0.0.1", 80, { tls = true })
    fails("option 'nodelay': boolean expected, got number", "127.0.0.1", 80, { nodelay = 1 })
    fails("option 'limit' must be 1 to", "127.0.0.1", 80, { limit = 0 })
    fails("option 'keepalive': true, false, a table, or seconds from 1 to 32767 expected, got x",
      "127.0.0.1", 80, { keepalive = "x" })
    for _, seconds in ipairs { 0, -1, 0 / 0, 32768, 1 / 0 } do
      local got = "seconds from 1 to 32767 expected, got " .. tostring(seconds):gsub("-", "%%-")
      fails(got, "127.0.0.1", 80, { keepalive = seconds })
      fails("'idle' in " .. got, "127.0.0.1", 80, { keepalive = { idle = seconds } })
    end
    fails("option 'keepalive': 'interval' in seconds from 1 to 32767 expected, got x",
      "127.0.0.1", 80, { keepalive = { interval = "x" } })
    fails("option 'keepalive': 'count' from 1 to 127 expected, got 128", "127.0.0.1", 80,
      { keepalive = { count = 128 } })
    fails("option 'keepalive': 'idle', 'interval' and 'count' expected in the table, got 'cnt'",
      "127.0.0.1", 80, { keepalive = { cnt = 1 } })
    fails("expected in the table, got '1'", "127.0.0.1", 80, { keepalive = { 60 } })
    fails("option 'local_addr': numeric address", "127.0.0.1", 80, { local_addr = "here" })
  end)
end)

describe("tcp.listen", function()
  it("takes a free port for 0, and tells it", function()
    local listener <close> = tcp.listen("127.0.0.1", 0)
    assert.is_true(listener.port > 0)
    assert.equal("127.0.0.1", listener.host)
    assert.is_nil(listener.nothing)
    assert.equal(("Listener (127.0.0.1:%d)"):format(listener.port),
      (tostring(listener):gsub(": 0x.*", "")))
  end)

  it("raises AddressInUseError for a port that is taken", function()
    local listener <close> = tcp.listen("127.0.0.1", 0)
    local err = raises("AddressInUseError", tcp.listen, "127.0.0.1", listener.port)
    assert.equal(("listen 127.0.0.1:%d: address already in use (EADDRINUSE)")
      :format(listener.port), err.message)
  end)

  it("shares a port where all ask for that", function()
    local listener <close> = tcp.listen("127.0.0.1", 0, { reuse_port = true })
    local second <close> = tcp.listen("127.0.0.1", listener.port, { reuse_port = true })
    assert.equal(listener.port, second.port)
  end)

  it("frees the port at once when it is closed", function()
    local listener = tcp.listen("127.0.0.1", 0)
    local port = listener.port
    listener:close()
    listener:close()
    raises("ConnectionRefusedError", tcp.connect, "127.0.0.1", port)
    tcp.listen("127.0.0.1", port):close()
  end)

  it("frees the port when it is collected", function()
    local listener = tcp.listen("127.0.0.1", 0)
    local port = listener.port
    listener = nil -- luacheck: ignore
    collectgarbage()
    collectgarbage()
    tcp.listen("127.0.0.1", port):close()
  end)

  it("checks its arguments", function()
    assert.error_matches(function() tcp.listen("localhost", 0) end, "numeric address expected")
    assert.error_matches(function() tcp.listen("127.0.0.1", -1) end, "port must be 0 to 65535")
    assert.error_matches(function() tcp.listen("127.0.0.1", 0, { tls = 1 }) end,
      "unknown option 'tls'")
    assert.error_matches(function() tcp.listen("127.0.0.1", 0, { backlog = 0 }) end,
      "option 'backlog' must be 1 to")
  end)
end)

describe("Listener:accept", function()
  it("waits for a connection", function()
    local listener <close> = tcp.listen("127.0.0.1", 0)
    local task = settle.start(listener.accept, listener)
    assert.is_false(task:done())
    local stream <close> = tcp.connect("127.0.0.1", listener.port)
    local peer <close> = task:await()
    assert.same({ stream:sockname() }, { peer:peername() })
  end)

  it("takes connections in the order of their coming", function()
    local listener <close> = tcp.listen("127.0.0.1", 0)
    local streams = {}
    for i = 1, 40 do streams[i] = tcp.connect("127.0.0.1", listener.port) end
    for i = 1, 40 do
      local peer <close> = listener:accept()
      assert.same({ streams[i]:sockname() }, { peer:peername() })
      streams[i]:close()
    end
  end)

  it("leaves the connection to the next one when it is cancelled", function()
    local listener <close> = tcp.listen("127.0.0.1", 0)
    local task = settle.start(listener.accept, listener)
    task:cancel()
    settle()
    assert.is_true(task:cancelled())
    local stream <close> = tcp.connect("127.0.0.1", listener.port)
    settle()
    local peer <close> = listener:accept()
    assert.same({ stream:sockname() }, { peer:peername() })
  end)

  it("raises ClosedError when another task closes the listener", function()
    local listener = tcp.listen("127.0.0.1", 0)
    local task = settle.start(listener.accept, listener)
    listener:close()
    local err = raises("ClosedError", task.await, task)
    assert.equal("accept: the Listener is closed", err.message)
    raises("ClosedError", listener.accept, listener)
  end)

  it("refuses a second task, naming both", function()
    local listener = tcp.listen("127.0.0.1", 0)
    local task = settle.start(listener.accept, listener)
    task.name = "the first"
    lilac.current_task().name = "the second"
    local err = raises("InvalidStateError", listener.accept, listener)
    assert.matches("the first", err.message, 1, true)
    assert.matches("the second", err.message, 1, true)
    listener:close()
    raises("ClosedError", task.await, task)
  end)

  it("raises EMFILE, and accepts the same connection later", function()
    local child = run([[
      local lilac, tcp = require "lilac", require "lilac.tcp"
      local listener = tcp.listen("127.0.0.1", 0)
      local stream = tcp.connect("127.0.0.1", listener.port)
      local files = {}
      repeat
        local file = io.open "/dev/null"
        files[#files + 1] = file
      until not file
      for _ = 1, 3 do
        local ok, err = pcall(listener.accept, listener)
        print(ok, err.code, lilac.errors.is(err, "OSError"))
      end
      for _, file in ipairs(files) do file:close() end
      listener:accept():write "hello":close()
      print(stream:read "a")
    ]], { env = "ulimit -n 40;" })
    assert.equal("", child.stderr)
    assert.equal("false\tEMFILE\ttrue\n" .. "false\tEMFILE\ttrue\n" .. "false\tEMFILE\ttrue\n"
      .. "hello\n", child.stdout)
  end)

  it("checks its argument", function()
    assert.error_matches(function() tcp.listen("127.0.0.1", 0).accept({}) end,
      "Listener expected, got table")
  end)
end)

describe("Listener:incoming", function()
  it("iterates over connections until the listener is closed", function()
    local listener = tcp.listen("127.0.0.1", 0)
    local served = 0
    local task = settle.start(function()
      for stream in listener:incoming() do
        served = served + 1
        stream:close()
      end
      return "the end"
    end)
    for _ = 1, 3 do
      local stream <close> = tcp.connect("127.0.0.1", listener.port)
      assert.is_nil(stream:read())
    end
    listener:close()
    assert.equal("the end", task:await())
    assert.equal(3, served)
    raises("ClosedError", listener.incoming, listener)
  end)
end)

describe("keepalive", function()
  --- Those of two sockets: one program looks at both, as its start takes the longest.
  local function settings(one, other)
    return lilac.process.run { stdin = one, stderr = other, "python3", "-c", [[
import socket
for s in (socket.socket(fileno=0), socket.socket(fileno=2)):
    on = s.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT):
        print(s.getsockopt(socket.IPPROTO_TCP, option) if on else "off", end=" ")
]] }.stdout
  end

  it("is on at both ends, and can be set or turned off at either", function()
    for _, case in ipairs {
      { true, nil, "60 10 6 60 10 6 " },
      { 30, 1.5, "30 5 6 2 1 6 " },
      { { idle = 20, count = 4 }, { interval = 2.5 }, "20 5 4 60 3 6 " },
      { false, false, "off off off off off off " },
    } do
      local connected, accepted = pair({ keepalive = case[1] }, { keepalive = case[2] })
      assert.equal(case[3], settings(connected, accepted))
    end
  end)

  it("finds out that the peer has vanished", function()
    local stream <close>, peer = pair({ keepalive = { idle = 1, interval = 1, count = 1 } })
    -- To close a socket under repair tells nobody, as if its machine had lost its power.
    local _, status = with_socket(peer, [[
try: s.setsockopt(socket.IPPROTO_TCP, 19, 1)  # TCP_REPAIR
except PermissionError: sys.exit(77)
]])
    if status == 77 then pending "needs CAP_NET_ADMIN, to let a peer vanish" end
    assert.equal(0, status)
    raises("ConnectionResetError", stream.read, stream) -- a stranger has answered in its place
  end)
end)

describe("closing a TCP stream", function()
  local LONG = ("0123456789abcdef"):rep(32 * 1024)

  --- Two ends, the second of which has something to read that nobody reads.
  local function pair_with_unread()
    local stream, peer = pair()
    stream:write "nobody reads this"
    return stream, peer
  end

  it("sends all that was written, though there is unread input", function()
    local stream <close>, peer = pair_with_unread()
    peer:write(LONG)
    peer:close()
    settle()
    assert.is_true(LONG == stream:read "a")
  end)

  it("gives the peer its end, and not a reset", function()
    local stream <close>, peer = pair_with_unread()
    peer:write("enough\n"):close()
    assert.equal("enough", stream:read())
    assert.is_nil(stream:read())
  end)

  it("hears a peer out that goes on sending, up to a bound", function()
    local stream <close>, peer = pair_with_unread()
    peer:write("enough\n"):close()
    raises("ConnectionError", function()
      while true do stream:write(LONG) end
    end)
    assert.equal("enough", stream:read())
  end)

  it("resets it when nothing was written, and something was not read", function()
    local stream <close>, peer = pair_with_unread()
    peer:close()
    raises("ConnectionResetError", stream.read, stream)
  end)

  it("frees its descriptor when the peer has ended", function()
    local before = descriptors()
    local stream, peer = pair_with_unread()
    peer:write("enough\n"):close()
    settle()
    assert.equal(before + 2, descriptors())
    stream:close()
    eventually(function() return descriptors() == before end)
  end)

  it("leaves the connection alone that another process goes on with", function()
    local stream <close>, peer = pair_with_unread()
    peer:write "from lilac\n"
    with_socket(peer, [[s.sendall(s.recv(100).upper())]])
    assert.equal("from lilac", stream:read())
    assert.equal("NOBODY READS THIS", stream:read "a")
  end)
end)

describe("a program", function()
  it("is at a deadlock when it waits and only listens, and at none when it accepts", function()
    local child = run [[
      local lilac, tcp = require "lilac", require "lilac.tcp"
      local listener = tcp.listen("127.0.0.1", 0)
      print(pcall(lilac.wait_for, listener.accept, 0.01))
      lilac.Future():await()
    ]]
    assert.equal(3, child.status)
  end)

  it("serves peers that are no lilac", function()
    local listener <close> = tcp.listen("127.0.0.1", 0)
    for _, client in ipairs { "nc -q 1 127.0.0.1 %d", "socat - TCP:127.0.0.1:%d" } do
      local command = ("printf 'one\\ntwo' | %s"):format(client:format(listener.port))
      local pipe <close> = assert(io.popen(command))
      local stream = listener:accept()
      assert.equal("one", stream:read())
      assert.equal("two", stream:read "a")
      stream:write "bye":close()
      assert.equal("bye", pipe:read "a")
    end
  end)
end)
