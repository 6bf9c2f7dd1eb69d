local lilac = require "lilac"
local raises = require "spec.support.raises"
local refused = require "spec.support.refused"
local run = require "spec.support.child"
local settle = require "spec.support.settle"
local shim = require "spec.support.shim"
local turns_during = require "spec.support.turns_during"
local woken = require "spec.support.woken"

local udp = lilac.net.udp

local function open(options)
  options = options or {}
  options.host = options.host or "127.0.0.1"
  return udp(options)
end

--- What runs fn with two sockets, the first one connected to the second.
local function with_pair(fn)
  return function()
    local one <close> = open()
    local two <close> = open()
    one:connect(two.host, two.port)
    fn(one, two)
  end
end

--- recv, as long as something comes: how many came.
local function drain(socket)
  local count = 0
  while lilac.move_on_after(0.05, socket.recv, socket) do count = count + 1 end
  return count
end

describe("net.udp", function()
  it("opens a socket at a free port, and tells which", function()
    local socket <close> = open()
    assert.is_true(socket.port > 0)
    assert.equal("127.0.0.1", socket.host)
    assert.same({ "127.0.0.1", socket.port }, { socket:sockname() })
    assert.is_nil(socket:peername())
    assert.is_nil(socket.nothing)
    assert.equal(("Socket (127.0.0.1:%d)"):format(socket.port),
      (tostring(socket):gsub(": 0x.*", "")))
  end)

  it("resolves a name", function()
    local socket <close> = udp { host = "localhost" }
    assert.is_true(socket.host == "127.0.0.1" or socket.host == "::1")
    raises("DNSError", udp, { host = "nosuch.invalid" })
  end)

  it("hears both families where no host is given", function()
    local socket <close> = udp()
    for _, host in ipairs { "127.0.0.1", "::1" } do
      local ok, peer = pcall(udp, { host = host })
      if ok then
        peer:send("hello", host, socket.port)
        assert.same({ "hello", host, peer.port }, { socket:recv() })
        socket:send("bye", host, peer.port)
        assert.same({ "bye", host, socket.port }, { peer:recv() })
        peer:close()
      end
    end
  end)

  it("keeps to IPv6 when it is asked to", function()
    local ok, socket = pcall(udp, { host = "::1", ipv6_only = true })
    if not ok then return end
    raises("OSError", socket.send, socket, "x", "127.0.0.1", 9)
    raises("DNSError", udp, { host = "127.0.0.1", ipv6_only = true })
    socket:close()
  end)

  it("raises AddressInUseError for a port that is taken, unless it is shared", function()
    local socket <close> = open { reuse_port = true }
    local err = raises("AddressInUseError", open, { port = socket.port })
    assert.equal(("bind 127.0.0.1:%d: address already in use (EADDRINUSE)"):format(socket.port),
      err.message)
    local second <close> = open { port = socket.port, reuse_port = true }
    assert.equal(socket.port, second.port)
    local first <close> = open { reuse_addr = true }
    local other <close> = open { port = first.port, reuse_addr = true }
    assert.equal(first.port, other.port)
  end)

  it("raises what the system says about an address", function()
    local err = raises("OSError", udp, { host = "192.0.2.77" })
    assert.equal("bind 192.0.2.77:0: address not available (EADDRNOTAVAIL)", err.message)
  end)

  it("frees its port at once when it is closed, and when it is collected", function()
    local socket = open()
    local port = socket.port
    socket:close()
    socket:close()
    assert.matches("^Socket %(closed%)", tostring(socket))
    socket = open { port = port }
    assert.equal(port, socket.port)
    socket = nil -- luacheck: ignore
    collectgarbage()
    collectgarbage()
    open({ port = port }):close()
  end)

  it("checks its options", function()
    refused("table expected, got number", udp, 1)
    refused("unknown option 'tls'; known: host, port, ", udp, { tls = true })
    refused("option 'host': string expected, got number", udp, { host = 1 })
    refused("option 'host' contains a zero byte", udp, { host = "127.0.0.1\0x" })
    refused("option 'port': integer from 0 to 65535 expected", udp, { port = 65536 })
    refused("option 'port': integer from 0 to 65535 expected", udp, { port = "http" })
    refused("option 'queue' must be 1 to", udp, { queue = 0 })
    refused("option 'ttl' must be 1 to 255, got 256", udp, { ttl = 256 })
    refused("option 'broadcast': boolean expected", udp, { broadcast = 1 })
    refused("no interface has the name or address 'nosuch'", udp,
      { multicast_interface = "nosuch" })
  end)
end)

describe("Socket:send", function()
  it("sends to addresses and to names", function()
    local one <close> = open()
    local two <close> = open()
    one:send("hello", "127.0.0.1", two.port)
    assert.same({ "hello", "127.0.0.1", one.port }, { two:recv() })
    one:send(42, "localhost", two.port)
    assert.same({ "42", "127.0.0.1", one.port }, { two:recv() })
    raises("DNSError", one.send, one, "x", "nosuch.invalid", 9)
  end)

  it("sends datagrams of any length, and nothing too", with_pair(function(one, two)
    for _, size in ipairs { 0, 1, 1500, 65507 } do
      one:send(("x"):rep(size))
      assert.equal(size, #two:recv())
    end
    local err = raises("OSError", one.send, one, ("x"):rep(65508))
    assert.equal(("send 127.0.0.1:%d: 65508 bytes: message too long (EMSGSIZE)"):format(two.port),
      err.message)
  end))

  it("raises what the system says", function()
    local socket <close> = open()
    local err = raises("PermissionError", socket.send, socket, "x", "255.255.255.255", 9)
    assert.equal("send 255.255.255.255:9: permission denied (EACCES)", err.message)
    raises("OSError", socket.send, socket, "x", "::1", 9)
  end)

  it("waits while the kernel has no room, and sends what it waited with", function()
    local child = run([[
      local lilac = require "lilac"
      local one, two = lilac.net.udp { host = "127.0.0.1" }, lilac.net.udp { host = "127.0.0.1" }
      one:send("late", "127.0.0.1", two.port)
      print(two:recv())
    ]], { env = shim { SHIM_FULL = 3 } })
    assert.matches("^late\t127.0.0.1", child.stdout, nil, child.stderr)
  end)

  it("can be cancelled while it waits: then nothing is sent", function()
    local child = run([[
      local lilac = require "lilac"
      local one, two = lilac.net.udp { host = "127.0.0.1" }, lilac.net.udp { host = "127.0.0.1" }
      local task = lilac.create_task(one.send, one, "late", "127.0.0.1", two.port)
      for _ = 1, 10 do lilac.sleep(0) end
      task:cancel()
      pcall(task.await, task)
      one:send("this", "127.0.0.1", two.port)
      print(task:cancelled(), (two:recv()))
    ]], { env = shim { SHIM_FULL = 1000000 } })
    assert.equal("true\tthis\n", child.stdout, child.stderr)
  end)

  it("is cancelled also when there was room, and then none again", function()
    local child = run([[
      local lilac = require "lilac"
      local socket = lilac.net.udp { host = "127.0.0.1" }
      local task = lilac.create_task(socket.send, socket, "late", "127.0.0.1", 9)
      repeat lilac.sleep(0) until tostring(task):find "socket:send"
      assert(require "spec.support.woken"(task))
      task:cancel()
      lilac.wait({ task }, { timeout = 5 })
      print(task:cancelled())
    ]], { env = shim { SHIM_FULL = 1000000 } })
    assert.equal("true\n", child.stdout, child.stderr)
  end)

  it("raises ClosedError when another task closes the socket, and after that", function()
    local child = run([[
      local lilac = require "lilac"
      local socket = lilac.net.udp { host = "127.0.0.1" }
      local task = lilac.create_task(socket.send, socket, "late", "127.0.0.1", 9)
      for _ = 1, 10 do lilac.sleep(0) end
      socket:close()
      print(select(2, pcall(task.await, task)))
    ]], { env = shim { SHIM_FULL = 1000000 } })
    assert.equal("ClosedError: send: the Socket is closed\n", child.stdout, child.stderr)
    local socket = open()
    socket:close()
    raises("ClosedError", socket.send, socket, "x", "127.0.0.1", 9)
  end)

  it("checks its arguments", function()
    local socket <close> = open()
    refused("string expected, got no value", socket.send, socket)
    refused("host expected, as the Socket is not connected", socket.send, socket, "x")
    refused("port: integer expected, got no value", socket.send, socket, "x", "127.0.0.1")
    refused("port must be 1 to 65535, got 0", socket.send, socket, "x", "127.0.0.1", 0)
    refused("host contains a zero byte", socket.send, socket, "x", "127.0.0.1\0", 9)
    refused("Socket expected, got table", socket.send, {})
  end)
end)

describe("Socket:recv", function()
  it("waits for a datagram, and tells where it came from", with_pair(function(one, two)
    local task = settle.start(two.recv, two)
    assert.is_false(task:done())
    one:send "hello"
    assert.same({ "hello", "127.0.0.1", one.port }, { task:await() })
  end))

  it("cuts what is longer than asked for, and tells how long it was", with_pair(function(one, two)
    one:send "123456"
    one:send "1234"
    assert.same({ "1234", "127.0.0.1", one.port, 6 }, { two:recv(4) })
    assert.same({ "1234", "127.0.0.1", one.port }, { two:recv(4) })
  end))

  it("is cancelled also when another took what had woken it", with_pair(function(one, two)
    local task = settle.start(two.recv, two)
    one:send "for one"
    if not woken(task) then return end -- shuffled tasks: it was faster
    assert.equal("for one", (two:recv()))
    task:cancel()
    lilac.wait({ task }, { timeout = 5 })
    assert.is_true(task:cancelled())
  end))

  it("can be cancelled, and loses nothing", with_pair(function(one, two)
    local task = settle.start(two.recv, two)
    task:cancel()
    settle()
    assert.is_true(task:cancelled())
    one:send "hello"
    settle()
    assert.equal("hello", (two:recv()))
  end))

  it("raises ClosedError when another task closes the socket, and after that", function()
    local socket = open()
    local task = settle.start(socket.recv, socket)
    socket:close()
    local err = raises("ClosedError", task.await, task)
    assert.equal("recv: the Socket is closed", err.message)
    raises("ClosedError", socket.recv, socket)
  end)

  it("refuses a second task, naming both", function()
    local socket <close> = open()
    local task <close> = settle.start(socket.recv, socket)
    task.name = "the first"
    lilac.current_task().name = "the second"
    local err = raises("InvalidStateError", socket.recv, socket)
    assert.matches("the first", err.message, 1, true)
    assert.matches("the second", err.message, 1, true)
  end)

  it("lets the others run while datagrams pour in", with_pair(function(one, two)
    local turns = turns_during(function()
      for _ = 1, 200 do one:send "x" end
      for _ = 1, 200 do two:recv() end
    end)
    assert.is_true(turns > 3, tostring(turns))
  end))

  it("checks its arguments", function()
    local socket <close> = open()
    refused("number of bytes must be 1 to 65536, got 0", socket.recv, socket, 0)
    refused("integer expected, got string", socket.recv, socket, "x")
    refused("Socket expected, got table", socket.recv, {})
  end)
end)

describe("a Socket's queue", function()
  it("has a ceiling, beyond which datagrams are dropped and counted", function()
    local one <close> = open()
    local two <close> = open { queue = 10000 }
    assert.equal(0, two.dropped)
    one:connect(two.host, two.port)
    for _ = 1, 500 do one:send(("x"):rep(100)) end
    local received = drain(two)
    assert.is_true(received > 0 and received < 500)
    assert.equal(500, received + two.dropped)
  end)

  it("is read no more while nobody receives", function()
    local one <close> = open()
    local two <close> = open { queue = 10000 }
    one:connect(two.host, two.port)
    one:send "first"
    assert.equal("first", (two:recv()))
    for _ = 1, 500 do
      one:send(("x"):rep(100))
      lilac.sleep(0)
    end
    assert.is_true(two.dropped > 300, tostring(two.dropped))
    drain(two)
  end)
end)

describe("Socket:connect", function()
  it("sends to one peer, and hears no other", with_pair(function(one, two)
    local other <close> = open()
    assert.same({ two:sockname() }, { one:peername() })
    other:send("not this", one.host, one.port)
    two:send("this", one.host, one.port)
    assert.equal("this", (one:recv()))
  end))

  it("takes a name, and chooses the address of this end", function()
    local two <close> = open()
    local one <close> = udp()
    one:connect("localhost", two.port)
    assert.same({ "127.0.0.1", two.port }, { one:peername() })
    assert.equal("127.0.0.1", one.host)
    one:send "hello"
    assert.same({ "hello", one:sockname() }, { two:recv() })
    raises("DNSError", one.connect, one, "nosuch.invalid", 9)
  end)

  it("tells who receives, and who sends, that nobody is there", with_pair(function(one, two)
    local task = settle.start(one.recv, one)
    local text = ("127.0.0.1:%d: connection refused (ECONNREFUSED)"):format(two.port)
    two:close()
    one:send "x"
    assert.equal("recv " .. text, raises("ConnectionRefusedError", task.await, task).message)
    one:send "x"
    settle()
    assert.equal("send " .. text, raises("ConnectionRefusedError", one.send, one, "x").message)
    one:send "x"
    assert.equal("recv " .. text, raises("ConnectionRefusedError", one.recv, one).message)
  end))

  it("checks its arguments", function()
    local socket <close> = open()
    refused("string expected, got no value", socket.connect, socket)
    refused("port: integer expected, got no value", socket.connect, socket, "127.0.0.1")
    raises("OSError", socket.connect, socket, "::1", 9)
  end)

  it("can be cancelled while it resolves, and the socket can be closed meanwhile", function()
    local socket = open()
    local task = lilac.create_task(socket.connect, socket, "localhost", 9)
    local second = lilac.create_task(socket.send, socket, "x", "localhost", 9)
    local third = lilac.create_task(socket.connect, socket, "localhost", 9)
    lilac.sleep(0)
    task:cancel()
    socket:close()
    raises("CancelledError", task.await, task)
    raises("ClosedError", second.await, second)
    raises("ClosedError", third.await, third)
  end)
end)

describe("a Socket in a for loop", function()
  it("gives datagrams until it is closed", with_pair(function(one, two)
    local heard = {}
    local task = settle.start(function()
      for data, host, port in two do heard[#heard + 1] = ("%s %s:%d"):format(data, host, port) end
      return "the end"
    end)
    one:send "a"
    one:send ""
    settle()
    two:close()
    assert.equal("the end", task:await())
    assert.same({ "a 127.0.0.1:" .. one.port, " 127.0.0.1:" .. one.port }, heard)
    for _ in two do error "it is closed" end
  end))
end)

describe("multicast", function()
  it("reaches who joined the group, and no other", function()
    local sender <close> = open { multicast_interface = "lo", multicast_ttl = 1,
      multicast_loop = true, ttl = 3 }
    local member <close> = udp { host = "0.0.0.0", reuse_addr = true }
    local other <close> = udp { host = "0.0.0.0", port = member.port, reuse_addr = true }
    member:join("239.255.1.2", "lo")
    sender:send("hello", "239.255.1.2", member.port)
    assert.same({ "hello", "127.0.0.1", sender.port }, { member:recv() })
    member:leave("239.255.1.2", "lo")
    sender:send("again", "239.255.1.2", member.port)
    assert.equal(0, drain(member))
    assert.equal(0, drain(other))
  end)

  it("knows groups of IPv6", function()
    local ok, socket = pcall(udp, { host = "::" })
    if not ok then return end
    socket:join("ff02::1234", "lo")
    socket:leave("ff02::1234", "lo")
    socket:close()
  end)

  it("raises what the system says, and checks its arguments", function()
    local socket <close> = open()
    socket:join("239.255.1.2", "lo")
    local err = raises("AddressInUseError", socket.join, socket, "239.255.1.2", "lo")
    assert.equal("join 239.255.1.2: address already in use (EADDRINUSE)", err.message)
    err = raises("OSError", socket.leave, socket, "239.255.1.3", "lo")
    assert.equal("leave 239.255.1.3: address not available (EADDRNOTAVAIL)", err.message)
    refused("numeric address expected, got 'x'", socket.join, socket, "x")
    refused("this is no address of a multicast group", socket.join, socket, "127.0.0.1")
    refused("no interface has the name or address 'nosuch'", socket.join, socket, "239.255.1.2",
      "nosuch")
    refused("no interface has the name or address '192.0.2.99'", socket.leave, socket,
      "239.255.1.2", "192.0.2.99")
    socket:close()
    raises("ClosedError", socket.join, socket, "239.255.1.2")
  end)
end)

describe("broadcast", function()
  it("is for sockets that ask for it", function()
    local sender <close> = open { broadcast = true }
    local hearer <close> = udp { host = "0.0.0.0" }
    sender:send("hello", "127.255.255.255", hearer.port)
    assert.same({ "hello", "127.0.0.1", sender.port }, { hearer:recv() })
    local second <close> = open()
    raises("PermissionError", second.send, second, "x", "127.255.255.255", hearer.port)
  end)
end)
