local lilac = require "lilac"
local tcp = require "lilac.tcp"
local net = require "lilac.net"
local start_tls = require "lilac.start_tls"
local certificates = require "spec.support.certificates"
local background = require "spec.support.background"
local raises = require "spec.support.raises"
local run = require "spec.support.child"

local made = certificates()
local cert, key = made:path "good.pem", made:path "good.key"

teardown(function() made:remove() end)

describe("Stream:start_tls", function()
  local client, server

  before_each(function()
    local listener <close> = tcp.listen("127.0.0.1", 0)
    client, server = tcp.connect("127.0.0.1", listener.port), listener:accept()
  end)

  after_each(function()
    client:close()
    server:close()
  end)

  local function serve(options)
    options.server_side = true
    return lilac.create_task(server.start_tls, server, options)
  end

  it("goes on in TLS on the same stream", function()
    local task = lilac.create_task(function()
      assert.equal("STARTTLS", server:read())
      server:write "go ahead\n"
      assert.equal(server, server:start_tls { server_side = true, cert = cert, key = key })
      server:write("you said ", server:read(), "\n")
    end)
    client:write "STARTTLS\n"
    assert.equal("go ahead", client:read())
    assert.equal(client, client:start_tls { ca = made.ca, server_hostname = "localhost" })
    client:write "hello\n"
    assert.equal("you said hello", client:read())
    task:await()
  end)

  it("takes contexts, alone or with options of the connection", function()
    local context = lilac.tls.context { cert = cert, key = key }
    local task = serve { context = context }
    client:start_tls { context = lilac.tls.context { ca = made.ca },
      server_hostname = "127.0.0.1" }
    task:await()
    assert.equal("CN=localhost", client:tls_info().peer_subject)
  end)

  it("verifies against the system by default", function()
    local task = lilac.create_task(pcall, server.start_tls, server,
      { server_side = true, cert = cert, key = key })
    local err = raises("TLSError", client.start_tls, client, { server_hostname = "localhost" })
    assert.equal("UNABLE_TO_GET_ISSUER_CERT_LOCALLY", err.code)
    assert.is_false((task:await()))
  end)

  it("gives up a handshake that takes too long", function()
    local err = raises("TimeoutError", client.start_tls, client,
      { server_hostname = "localhost", handshake_timeout = 0.01 })
    assert.equal("handshake localhost: not over within 0.01 s", err.message)
    raises("ClosedError", client.read, client)
  end)

  it("checks its arguments", function()
    local context = lilac.tls.context()
    local function wrong(pattern, options)
      local ok, err = pcall(client.start_tls, client, options)
      assert.is_false(ok)
      assert.matches(pattern, err)
    end
    wrong("^bad argument #1 to 'start_tls' %(true, Context or table of options expected, got str",
      "x")
    wrong("unknown option 'nonsense'; known: ca, cert, key, .*, server_hostname, server_side%)$",
      { nonsense = 1 })
    wrong("option 'context': Context expected, got boolean", { context = true })
    wrong("option 'ca' is one of the Context", { context = context, ca = "x" })
    wrong("option 'handshake_timeout': number of seconds expected, got x",
      { handshake_timeout = "x" })
    wrong("a server needs a certificate: option 'cert'", { server_side = true })
    wrong("option 'server_hostname' expected: whom", true)
    wrong("option 'server_hostname' expected: whom", context)
    wrong("option 'verify': boolean expected, got string", { verify = "no" })
    client:close()
    raises("ClosedError", client.start_tls, client)
  end)
end)

describe("lilac.net with tls", function()
  local reports

  before_each(function()
    reports = {}
    lilac.set_exception_handler(function(context) reports[#reports + 1] = context end)
  end)

  after_each(function() lilac.set_exception_handler(nil) end)

  local function echo(stream)
    for line in stream:lines() do stream:write(line, "\n") end
  end

  local function serve(options, handler)
    options.cert, options.key = options.cert or cert, options.key or key
    return net.serve("127.0.0.1", 0, handler or echo, { tls = options })
  end

  local function report()
    for _ = 1, 1000 do
      if reports[1] then return table.remove(reports, 1) end
      lilac.sleep(0.001)
    end
  end

  it("connects to servers, and serves", function()
    local server <close> = serve { alpn = { "echo" } }
    for _, options in ipairs { { ca = made.ca, alpn = { "echo" } },
      lilac.tls.context { ca = made.ca, alpn = { "echo" } } } do
      local stream <close> = net.connect("localhost", server.port, { tls = options })
      stream:write "hello\n"
      assert.equal("hello", stream:read())
      assert.equal("echo", stream:tls_info().alpn)
    end
    assert.same({}, reports)
  end)

  it("works over Unix sockets", function()
    local path = made:path "socket"
    local server <close> = net.serve_unix(path, echo, { tls = { cert = cert, key = key } })
    local stream <close> = net.connect_unix(server.path,
      { tls = { ca = made.ca, server_hostname = "localhost" } })
    stream:write "hello\n"
    assert.equal("hello", stream:read())
    assert.equal("integer", math.type((stream:peercred())))
    local ok, err = pcall(net.connect_unix, server.path, { tls = true })
    assert.is_false(ok)
    assert.matches("option 'server_hostname' expected", err)
    assert.matches("the peer closed the connection", report().exception.message)
  end)

  it("is off for false", function()
    local server <close> = net.serve("127.0.0.1", 0, echo, { tls = false })
    local stream <close> = net.connect("localhost", server.port, { tls = false })
    stream:write "hello\n"
    assert.equal("hello", stream:read())
    assert.is_nil(stream:tls_info())
  end)

  it("refuses a server that is another, naming the host that was asked for", function()
    local server <close> = serve { cert = made:path "wrong.pem", key = made:path "wrong.key" }
    local err = raises("TLSError", net.connect, "localhost", server.port,
      { tls = { ca = made.ca } })
    assert.matches("^handshake localhost %(127.0.0.1:%d+%): hostname mismatch", err.message)
    local context = report()
    assert.matches("^connection from 127.0.0.1:%d+: the TLS handshake failed$", context.message)
    assert.matches("the peer says: bad certificate", context.exception.message)
    local stream <close> = net.connect("localhost", server.port,
      { tls = { ca = made.ca, server_hostname = "wrong.test" } })
    stream:write "x\n"
    assert.equal("x", stream:read())
  end)

  it("serves others while a client is silent or talks nonsense, and reports these", function()
    local server <close> = serve { handshake_timeout = 0.5 }
    local silent <close> = net.connect("127.0.0.1", server.port)
    local mad <close> = net.connect("127.0.0.1", server.port)
    mad:write "nonsense, and more than a record's head\n"
    local stream <close> = net.connect("localhost", server.port, { tls = { ca = made.ca } })
    stream:write "x\n"
    assert.equal("x", stream:read())
    assert.equal("WRONG_VERSION_NUMBER", report().exception.code)
    assert.equal("TimeoutError", report().exception.name)
    assert.equal("", silent:read "a")
  end)

  it("has a line to say about a handshake that fails, and no more", function()
    local child = run(([[
      local lilac = require "lilac"
      local tls = { cert = %q, key = %q, handshake_timeout = 0.3 }
      local server <close> = lilac.net.serve("127.0.0.1", 0, error, { tls = tls })
      for _, words in ipairs { "GET / HTTP/1.0\r\n\r\n", "SSH-2.0-scan\r\n", "", false } do
        local stream <close> = lilac.net.connect("127.0.0.1", server.port)
        if words then
          stream:write(words)
          stream:shutdown()
        end
        pcall(stream.read, stream, "a")
      end
    ]]):format(cert, key))
    assert.same({ "", 0 }, { child.stdout, child.status })
    local from, failed = "^lilac: connection from 127.0.0.1:%d+: ", "the TLS handshake failed: "
    local whose = "TLSError: handshake 127.0.0.1:%d+: "
    local lines = {}
    for line in child.stderr:gmatch "[^\n]*\n" do lines[#lines + 1] = line end
    for i, what in ipairs {
      whose .. "http request %(HTTP_REQUEST%)",
      whose .. "wrong version number %(WRONG_VERSION_NUMBER%)",
      whose .. "the peer closed the connection %(UNEXPECTED_EOF%)",
      "TimeoutError: handshake: not over within 0.3 s",
    } do
      assert.matches(from .. failed .. what .. "\n$", lines[i])
    end
    assert.equal(4, #lines, child.stderr)
  end)

  it("closes a connection when it is cancelled before the handshake", function()
    local listener <close> = net.listen("127.0.0.1", 0)
    collectgarbage "stop"
    local task = lilac.create_task(net.connect, "127.0.0.1", listener.port,
      { tls = { verify = false } })
    local server <close> = listener:accept()
    repeat lilac.sleep(0) until not tostring(task):find "tcp:connect"
    task:cancel()
    raises("CancelledError", task.await, task)
    lilac.wait_for(function() pcall(server.read, server, "a") end, 5)
    collectgarbage "restart"
  end)

  it("bounds connecting and the handshake together", function()
    local listener <close> = net.listen("127.0.0.1", 0)
    local err = raises("TimeoutError", net.connect, "localhost", listener.port,
      { tls = true, timeout = 0.05 })
    assert.matches("no connection within 0.05 s", err.message)
  end)

  it("reads the files before it listens or connects", function()
    raises("FileNotFoundError", net.serve, "127.0.0.1", 0, echo,
      { tls = { cert = "/nonexistent" } })
    raises("FileNotFoundError", net.connect, "127.0.0.1", 1, { tls = { ca = "/nonexistent" } })
  end)

  it("serves curl, which verifies too", function()
    local server <close> = serve({ alpn = { "http/1.1" } }, function(stream)
      if not stream:read_until "\r\n\r\n" then return end -- as of one who found another host
      stream:write "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n"
    end)
    local function curl(host, ca)
      return background(("exec curl -sS --max-time 20 --noproxy \\* --cacert %s --resolve " ..
        "%s:%d:127.0.0.1 https://%s:%d/"):format(ca, host, server.port, host, server.port))
    end
    local job <close> = curl("a.wild.test", made.ca)
    assert.equal(0, job:wait(), job:errors())
    assert.equal("hello\n", job:output())
    local stranger <close> = curl("elsewhere.test", made.ca)
    assert.equal(60, stranger:wait())
    local distrustful <close> = curl("localhost", made.other_ca)
    assert.equal(60, distrustful:wait())
    assert.matches("unknown ca", report().exception.message)
  end)

  it("checks its arguments", function()
    local function wrong(pattern, fn, ...)
      local ok, err = pcall(fn, ...)
      assert.is_false(ok)
      assert.matches(pattern, err)
    end
    wrong("^bad argument #3 to 'connect' %(option 'tls': true, Context or table of options " ..
      "expected, got string%)$", net.connect, "127.0.0.1", 1, { tls = "yes" })
    wrong("option 'tls': unknown option 'cafile'", net.connect, "127.0.0.1", 1,
      { tls = { cafile = "x" } })
    wrong("^bad argument #4 to 'serve' %(option 'tls': a server needs a certificate",
      net.serve, nil, 0, echo, { tls = true })
    wrong("option 'tls': option 'server_side' is fixed here", net.serve, nil, 0, echo,
      { tls = { cert = cert, key = key, server_side = false } })
    wrong("option 'tls': option 'server_side' is fixed here", net.connect, "127.0.0.1", 1,
      { tls = { server_side = true } })
    wrong("option 'server_hostname' is for clients", function()
      serve { server_hostname = "x" }
    end)
  end)
end)

describe("start_tls.prepare", function()
  it("does not read what the system trusts for a server, nor beside `ca`", function()
    local fifo = made:path "fifo" -- whoever opens it, waits for a writer
    os.execute("mkfifo " .. fifo)
    local child = run(([[
      local net = require "lilac".net
      local server <close> = net.serve("127.0.0.1", 0, function(s) s:write "hello" end,
        { tls = { cert = %q, key = %q } })
      local stream <close> = net.connect("127.0.0.1", server.port, { tls = { ca = %q } })
      io.write(stream:read "a")
      io.stdout:flush()
    ]]):format(cert, key, made.ca), { env = "SSL_CERT_FILE=" .. fifo, limit = 20 })
    assert.same({ "hello", "", 0 }, { child.stdout, child.stderr, child.status })
  end)

  it("lets the user name another host than the caller", function()
    local shake_hands = start_tls.prepare({ server_hostname = "localhost", ca = made.ca },
      { server_side = false, server_hostname = "127.0.0.2" }, error)
    local listener <close> = tcp.listen("127.0.0.1", 0)
    local client <close> = tcp.connect("127.0.0.1", listener.port)
    local server <close> = listener:accept()
    local task = lilac.create_task(start_tls.start, server,
      { server_side = true, cert = cert, key = key })
    assert.equal(client, shake_hands(client))
    task:await()
  end)
end)
