local lilac = require "lilac"
local raises = require "spec.support.raises"
local refused = require "spec.support.refused"
local reports_of = require "spec.support.reports"
local run = require "spec.support.child"
local settle = require "spec.support.settle"

local net = lilac.net

local function echo(stream)
  for line in stream:lines "L" do stream:write(line) end
end

describe("net.connect", function()
  it("connects to a name", function()
    local server <close> = net.serve("localhost", 0, echo)
    local stream <close> = net.connect("localhost", server.port)
    stream:write "hello\n"
    assert.equal("hello", stream:read())
  end)

  it("raises the error of the address where nobody listens", function()
    local err = raises("ConnectionRefusedError", net.connect, "localhost", 1)
    assert.matches("^connect .*127.0.0.1:1: connection refused", err.message)
  end)

  it("raises DNSError for a name that does not exist", function()
    raises("DNSError", net.connect, "nosuch.invalid", 80)
  end)

  it("raises TimeoutError when it takes too long", function()
    local listener <close> = net.listen("127.0.0.1", 0, { backlog = 1 })
    local streams = {}
    local err = raises("TimeoutError", function()
      for i = 1, 10 do
        streams[i] = net.connect("127.0.0.1", listener.port, { timeout = 0.05 })
      end
    end)
    assert.is_truthy(err)
    for _, stream in ipairs(streams) do stream:close() end
  end)

  it("passes its options on", function()
    local server <close> = net.serve("127.0.0.1", 0, echo, { limit = 100 })
    local stream <close> = net.connect("127.0.0.1", server.port,
      { limit = 3, nodelay = false, keepalive = true, local_addr = "127.0.0.3", timeout = 5 })
    assert.equal("127.0.0.3", (stream:sockname()))
    stream:write "abcdef\n"
    raises("LimitOverrunError", stream.read, stream)
  end)

  it("checks its arguments", function()
    local function fails(pattern, ...) refused(pattern, net.connect, ...) end
    fails("bad argument #1 to 'connect' %(host name or address expected, got nil%)", nil, 80)
    fails("bad argument #2 to 'connect' %(port from 1 to 65535 expected, got 0%)", "x", 0)
    fails("port from 1 to 65535 expected, got 1.5", "x", 1.5)
    fails("port from 1 to 65535 expected, got http", "x", "http")
    fails("bad argument #3 to 'connect' %(table of options expected, got number%)", "x", 1, 1)
    fails("^bad argument #1 to 'connect' %(host contains a zero byte%)$", "a\0b", 1)
    for _, host in ipairs { "127.0.0.1", "localhost" } do
      fails("^bad argument #3 to 'connect' %(option 'nodelay': boolean expected, got string%)$",
        host, 1, { nodelay = "yes" })
      fails("^bad argument #3 to 'connect' %(option 'limit' must be 1 to 2147483647, got %-1%)$",
        host, 1, { limit = -1 })
    end
    fails("unknown option 'x'; known: local_addr, nodelay, keepalive, limit, timeout, "
      .. "happy_eyeballs_delay", "x", 1, { x = true })
    local _, err = pcall(function() net.connect(nil, 80) end)
    assert.matches("net_spec.lua:%d+: bad argument", err)
  end)
end)

describe("net.listen", function()
  it("listens on a name, for a program that accepts itself", function()
    local listener <close> = net.listen("localhost", 0)
    local stream <close> = net.connect("localhost", listener.port)
    local peer <close> = listener:accept()
    assert.same({ stream:sockname() }, { peer:peername() })
  end)

  it("raises AddressInUseError for a port that is taken", function()
    local listener <close> = net.listen("127.0.0.1", 0)
    raises("AddressInUseError", net.listen, "127.0.0.1", listener.port)
  end)

  it("checks its arguments", function()
    assert.error_matches(function() net.listen(80) end, "bad argument #1 to 'listen'")
    assert.error_matches(function() net.listen("x", 65536) end, "port from 0 to 65535 expected")
    assert.error_matches(function() net.listen("x", 1, { tls = 1 }) end,
      "bad argument #3 to 'listen' %(unknown option 'tls'; known: backlog, reuse_port, ")
    assert.error_matches(function() net.listen("127.0.0.1", 0, { backlog = "x" }) end,
      "^bad argument #3 to 'listen' %(option 'backlog': integer expected, got string%)$")
  end)
end)

describe("net.serve", function()
  it("gives each connection a task, and closes its stream after it", function()
    local server <close> = net.serve("127.0.0.1", 0, function(stream)
      stream:write(stream:read(), "\n")
    end)
    local streams = {}
    for i = 1, 5 do streams[i] = net.connect("127.0.0.1", server.port) end
    for i = 5, 1, -1 do
      streams[i]:write(i, "\n")
      assert.equal(i .. "\n", streams[i]:read "a")
      streams[i]:close()
    end
  end)

  it("listens on all interfaces for nil", function()
    local server <close> = net.serve(nil, 0, echo)
    local stream <close> = net.connect("127.0.0.1", server.port)
    stream:write "hello\n"
    assert.equal("hello", stream:read())
  end)

  it("serves a thousand connections at once", function()
    local count = 1000
    local server <close> = net.serve("127.0.0.1", 0, echo)
    local streams = {}
    for i = 1, count do streams[i] = net.connect("127.0.0.1", server.port) end
    for i = 1, count do streams[i]:write(i, "\n") end
    for i = 1, count do assert.equal(tostring(i), streams[i]:read()) end
    for i = 1, count do streams[i]:close() end
  end)

  it("reports an error of a handler with the peer, and goes on", function()
    local reports = reports_of(function()
      local server <close> = net.serve("127.0.0.1", 0, function(stream)
        if stream:read() == "fail" then error "oops" end
        stream:write "fine"
      end)
      local first <close> = net.connect("127.0.0.1", server.port)
      local second <close> = net.connect("127.0.0.1", server.port)
      first:write "fail\n"
      assert.equal("", first:read "a")
      second:write "go\n"
      assert.equal("fine", second:read "a")
    end)
    assert.equal(1, #reports)
    assert.matches("^connection from 127.0.0.1:%d+: the handler failed$", reports[1].message)
    assert.matches("oops$", reports[1].exception)
    assert.is_truthy(reports[1].task)
  end)

  it("prints what nobody handles, and leaves the exit status alone", function()
    local child = run [[
      local net = require "lilac".net
      local server <close> = net.serve("127.0.0.1", 0, function() error "oops" end)
      local stream <close> = net.connect("127.0.0.1", server.port)
      assert(stream:read "a" == "")
    ]]
    assert.equal(0, child.status)
    assert.matches("lilac: connection from 127.0.0.1:%d+: the handler failed: script.lua:2: oops",
      child.stderr)
    local _, count = child.stderr:gsub("oops", "")
    assert.equal(1, count)
  end)

  it("ends a connection quietly when its task is cancelled, also before it began", function()
    local handlers = {}
    local reports = reports_of(function()
      local server <close> = net.serve("127.0.0.1", 0, function(stream)
        handlers[#handlers + 1] = lilac.current_task()
        stream:read()
      end)
      local stream <close> = net.connect("127.0.0.1", server.port)
      settle()
      handlers[1]:cancel()
      assert.is_nil(stream:read())
      local second <close> = net.connect("127.0.0.1", server.port)
      for _ = 1, 100 do
        for _, task in ipairs(lilac.all_tasks()) do
          if task.name:find "^connection from" then task:cancel() end
        end
        lilac.sleep(0)
      end
      assert.is_nil(second:read())
    end)
    assert.same({}, reports)
  end)

  it("lets no more than max_connections in; the others wait", function()
    local now, most = 0, 0
    local server <close> = net.serve("127.0.0.1", 0, function(stream)
      now = now + 1
      most = math.max(most, now)
      echo(stream)
      now = now - 1
    end, { max_connections = 2 })
    local tasks = {}
    for i = 1, 6 do
      tasks[i] = lilac.create_task(function()
        local stream <close> = net.connect("127.0.0.1", server.port)
        stream:write(i, "\n")
        local answer = stream:read()
        settle()
        return answer
      end)
    end
    for i = 1, 6 do assert.equal(tostring(i), tasks[i]:await()) end
    assert.equal(2, most)
  end)

  it("lets max_connections in by all its addresses together", function()
    local server <close> = net.serve("localhost", 0, echo, { max_connections = 1 })
    for _, at in ipairs(lilac.dns.getaddrinfo("localhost", server.port)) do
      local stream <close> = net.connect(at.address, server.port)
      stream:write "hello\n"
      assert.equal("hello", stream:read())
    end
  end)

  it("survives that there are no more files, and says so once", function()
    local child = run([[
      local lilac = require "lilac"
      local net = lilac.net
      local server <close> = net.serve("127.0.0.1", 0, function(stream) stream:write "hello" end)
      local files = {}
      repeat
        local file = io.open "/dev/null"
        files[#files + 1] = file
      until not file
      for _ = 1, 2 do table.remove(files):close() end -- for the stream, and libuv's spare one
      local stream <close> = net.connect("127.0.0.1", server.port)
      lilac.sleep(0.2) -- so that it tries several times
      for _, file in ipairs(files) do file:close() end
      print(stream:read "a")
    ]], { env = "ulimit -n 40;" })
    assert.equal("hello\n", child.stdout)
    assert.equal(0, child.status)
    local _, count = child.stderr:gsub("EMFILE", "")
    assert.equal(1, count)
    assert.matches("Server %(port %d+, 0 connections%): accepts no connection for now, "
      .. "and tries again: OSError: accept 127.0.0.1:%d+: too many open files", child.stderr)
  end)

  it("checks its arguments", function()
    local function fails(pattern, ...) refused(pattern, net.serve, ...) end
    fails("bad argument #1 to 'serve'", {}, 0, echo)
    fails("bad argument #2 to 'serve' %(port from 0 to 65535 expected, got %-1%)", nil, -1, echo)
    fails("bad argument #3 to 'serve' %(function expected, got nil%)", nil, 0)
    fails("bad argument #4 to 'serve' %(unknown option 'x'; known: backlog, .*max_connections",
      nil, 0, echo, { x = {} })
    fails("^bad argument #1 to 'serve' %(host contains a zero byte%)$", "a\0b", 1, echo)
    fails("^bad argument #4 to 'serve' %(option 'reuse_port': boolean expected, got number%)$",
      nil, 0, echo, { reuse_port = 1 })
    for _, grace in ipairs { 0 / 0, "1", {} } do
      fails("option 'grace': number of seconds expected, got ", nil, 0, echo,
        { grace = grace })
    end
    for _, most in ipairs { 0, 1.5, "x" } do
      fails("option 'max_connections': positive integer expected, got " .. most, nil, 0, echo,
        { max_connections = most })
    end
  end)
end)

describe("over Unix sockets", function()
  local path

  before_each(function()
    path = os.tmpname()
    os.remove(path)
  end)

  it("net.serve_unix serves, and net.connect_unix connects", function()
    local server <close> = net.serve_unix(path, echo, { mode = "600", grace = 5 })
    assert.equal(path, server.path)
    assert.equal(("Server (%s, 0 connections)"):format(path), tostring(server))
    local stream <close> = net.connect_unix(path, { limit = 10, timeout = 5 })
    stream:write "hello\n"
    assert.equal("hello", stream:read())
  end)

  it("net.listen_unix listens, for a program that accepts itself", function()
    local listener <close> = net.listen_unix(path)
    local stream <close> = net.connect_unix(path)
    local peer <close> = listener:accept()
    stream:write "hello\n"
    assert.equal("hello", peer:read())
  end)

  it("a server reports an error of a handler with the peer's process", function()
    local reports = reports_of(function()
      local server <close> = net.serve_unix(path, function() error "oops" end)
      local stream <close> = net.connect_unix(path)
      assert.is_nil(stream:read())
      server:close()
    end)
    assert.equal(1, #reports)
    assert.matches("^connection to " .. path .. " from process %d+: the handler failed$",
      reports[1].message)
  end)

  --- A listener whose backlog is full, and what fills it.
  local function full_listener()
    local listener = net.listen_unix(path, { backlog = 1 })
    local streams = {}
    while true do
      local ok, result = pcall(lilac.unix.connect, path)
      if not ok then return listener, streams end
      streams[#streams + 1] = result
    end
  end

  it("net.connect_unix waits while the backlog is full", function()
    local listener <close>, streams = full_listener()
    local task = settle.start(net.connect_unix, path)
    assert.is_false(task:done())
    for _ in ipairs(streams) do listener:accept():close() end
    task:await():close()
    for i = 1, #streams do streams[i]:close() end
  end)

  it("net.connect_unix can be cancelled and given up while it waits", function()
    local listener, streams = full_listener()
    local task = settle.start(net.connect_unix, path)
    task:cancel()
    settle()
    assert.is_true(task:cancelled())
    raises("TimeoutError", net.connect_unix, path, { timeout = 0.01 })
    for i = 1, #streams do streams[i]:close() end
    listener:close()
  end)

  it("net.connect_unix raises what is wrong with the path", function()
    local err = raises("FileNotFoundError", net.connect_unix, path)
    assert.equal(("connect %s: no such file or directory (ENOENT)"):format(path), err.message)
    raises("ConnectionRefusedError", net.connect_unix, "spec/lua/net_spec.lua")
  end)

  it("they check their arguments", function()
    refused("bad argument #1 to 'connect_unix' %(path of a socket expected, got nil%)",
      net.connect_unix)
    refused("^bad argument #1 to 'connect_unix' %(path of a socket expected, got an empty string",
      net.connect_unix, "")
    refused("^bad argument #1 to 'listen_unix' %(path contains a zero byte", net.listen_unix,
      "/tmp/a\0b")
    refused("^bad argument #2 to 'connect_unix' %(option 'limit': integer expected, got string%)$",
      net.connect_unix, path, { limit = "x" })
    refused("^bad argument #2 to 'listen_unix' %(option 'mode': ", net.listen_unix, path,
      { mode = "x" })
    refused("^bad argument #3 to 'serve_unix' %(option 'limit': ", net.serve_unix, path, echo,
      { limit = "x" })
    refused("bad argument #2 to 'connect_unix' %(unknown option 'x'; known: limit, timeout, tls%)",
      net.connect_unix, path, { x = true })
    refused("bad argument #2 to 'listen_unix' %(unknown option 'x'; known: backlog, limit, mode%)",
      net.listen_unix, path, { x = 1 })
    refused("bad argument #2 to 'serve_unix' %(function expected, got nil%)", net.serve_unix, path)
    refused("bad argument #3 to 'serve_unix' %(option 'grace': number of seconds expected",
      net.serve_unix, path, echo, { grace = {} })
  end)
end)
