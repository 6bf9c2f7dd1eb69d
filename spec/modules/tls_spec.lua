local lilac = require "lilac"
local tcp = require "lilac.tcp"
local tls = require "lilac.tls"
local certificates = require "spec.support.certificates"
local background = require "spec.support.background"
local raises = require "spec.support.raises"
local settle = require "spec.support.settle"
local run = require "spec.support.child"
local woken = require "spec.support.woken"

local KIB, MIB = 1024, 1024 * 1024

local made = certificates()
local server_options = { cert = made:path "good.pem", key = made:path "good.key" }
local serving = tls.context(server_options)
local trusting = tls.context { ca = made.ca }

teardown(function() made:remove() end)

local opened = {} -- in a spec, which leaves them to after_each

after_each(function()
  for _, stream in ipairs(opened) do stream:close() end
  opened = {}
end)

--- Two plain streams that are connected to each other.
local function plain_pair(options)
  local listener <close> = tcp.listen("127.0.0.1", 0)
  local client = tcp.connect("127.0.0.1", listener.port, options)
  local server = listener:accept()
  opened[#opened + 1], opened[#opened + 2] = client, server
  return client, server
end

--- Both shake hands on them; returns what became of each: ok, stream or error.
local function shake_hands(client, server, client_options, server_options_)
  local host = client_options.server_hostname or "localhost"
  local context = client_options.context or trusting
  local task = lilac.create_task(pcall, tls.handshake, server, server_options_ or serving,
    { server_side = true })
  local ok, result = pcall(tls.handshake, client, context, { server_hostname = host })
  return ok, result, task:await()
end

--- Two streams that speak TLS with each other, and their transports.
local function pair(client_options, server_context)
  local client, server = plain_pair(client_options and client_options.tcp)
  local ok, err, server_ok, server_err =
    shake_hands(client, server, client_options or {}, server_context)
  assert.is_true(ok, tostring(err))
  assert.is_true(server_ok, tostring(server_err))
  return client, server
end

--- The error of a client that meets a certificate, and that of the server.
local function refused(certificate, host, context)
  local client, server = plain_pair()
  local server_context = tls.context {
    cert = made:path(certificate .. ".pem"), key = made:path(certificate .. ".key") }
  local ok, err, server_ok, server_err = shake_hands(client, server,
    { server_hostname = host, context = context }, server_context)
  assert.is_false(ok)
  assert.is_false(server_ok)
  assert.is_true(lilac.errors.is(err, "TLSError"), tostring(err))
  assert.is_true(lilac.errors.is(server_err, "TLSError"), tostring(server_err))
  return err, server_err
end

describe("tls.context", function()
  it("takes paths or PEM text", function()
    local context = tls.context { cert = made:read "good.pem" .. made:read "good.key" }
    assert.is_true(context:serves())
    assert.is_false(trusting:serves())
    assert.matches("^Context %(with a certificate%)", tostring(context))
    assert.matches("^Context %(for clients%)", tostring(trusting))
    local authority = tls.context { ca = made:read "ca.pem" }
    local client = pair({ context = authority }, context)
    assert.equal("TLSv1.3", client:tls_info().version)
  end)

  it("says what is wrong with a file, and which", function()
    local err = raises("FileNotFoundError", tls.context, { ca = "/nonexistent/ca.pem" })
    assert.equal("context ca /nonexistent/ca.pem: no such file or directory (ENOENT)", err.message)
    err = raises("TLSError", tls.context, { cert = made:path "config" })
    assert.equal(("context cert %s: there is no certificate in it (NO_CERTIFICATE)")
      :format(made:path "config"), err.message)
    assert.same({ "NO_CERTIFICATE", "there is no certificate in it" }, { err.code, err.reason })
    err = raises("TLSError", tls.context, { ca = made:path "good.key" })
    assert.equal("NO_CERTIFICATE", err.code)
    err = raises("TLSError", tls.context, { cert = made:read "good.pem" })
    assert.equal("context key: there is no private key in it (NO_PRIVATE_KEY)", err.message)
    err = raises("TLSError", tls.context,
      { cert = made:path "good.pem", key = made:path "wrong.key" })
    assert.equal("KEY_VALUES_MISMATCH", err.code)
    raises("IsADirectoryError", tls.context, { cert = made.folder })
    err = raises("TLSError", tls.context, {
      cert = "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n" })
    assert.matches("^context cert: ", err.message)
    err = raises("OSError", tls.context, { ca = "-----BEGIN " .. ("x"):rep(16 * 1024 * 1024) })
    assert.equal("context ca: file too large (EFBIG)", err.message)
  end)

  it("opens an encrypted key with its password, and never asks for one", function()
    local options = { cert = made:path "good.pem", key = made:path "locked.key" }
    local err = raises("TLSError", tls.context, options)
    assert.matches("the key is encrypted: option 'password' expected", err.message)
    options.password = "wrong"
    err = raises("TLSError", tls.context, options)
    assert.matches("the password is wrong %(BAD_PASSWORD%)", err.message)
    options.password = "secret"
    assert.is_true(tls.context(options):serves())
  end)

  it("can be cancelled", function()
    local task = lilac.create_task(tls.context, server_options)
    lilac.sleep(0)
    task:cancel()
    settle()
    assert.is_true(task:cancelled())
  end)

  it("checks its arguments", function()
    local function wrong(pattern, options)
      local ok, err = pcall(tls.context, options)
      assert.is_false(ok)
      assert.matches(pattern, err)
    end
    wrong("unknown option 'cafile'; known: ca, cert, key,", { cafile = "x" })
    wrong("option 'verify': boolean expected, got string", { verify = "no" })
    wrong("option 'ca': string expected, got number", { ca = 1 })
    wrong("option 'ca' contains a zero byte", { ca = "x\0" })
    wrong("option 'key' needs 'cert'", { key = "x" })
    wrong("option 'client_cert' needs 'ca'", { client_cert = "require" })
    wrong("option 'client_cert': 'request' or 'require' expected, got 'x'",
      { client_cert = "x", ca = made.ca })
    wrong("option 'min_version': '1.2' or '1.3' expected, got '1.1'", { min_version = "1.1" })
    wrong("option 'alpn': array of protocol names expected, got string", { alpn = "h2" })
    wrong("option 'alpn': array of protocol names expected, it is empty", { alpn = {} })
    wrong("option 'alpn': names of protocols expected, got number", { alpn = { 1 } })
    wrong("option 'alpn': names of 1 to 255 bytes expected", { alpn = { "" } })
    wrong("option 'alpn': too many protocols", { alpn = { ("x"):rep(255), table.unpack(
      setmetatable({}, { __index = function() return ("x"):rep(255) end }), 1, 20) } })
    wrong("option 'sni': table of names and Contexts expected, got string", { sni = "x" })
    wrong("option 'sni': host names as keys expected, got number", { sni = { serving } })
    wrong("option 'sni': Contexts as values expected, got table", { sni = { x = {} } })
    wrong("option 'sni': a Context without 'cert' cannot serve", { sni = { x = trusting } })
    wrong("table expected, got number", 1)
  end)
end)

describe("verification", function()
  it("accepts a certificate of the host, by name, by wildcard or by address", function()
    for _, host in ipairs { "localhost", "a.wild.test", "127.0.0.1", "::1" } do
      local client, server = pair { server_hostname = host }
      assert.equal("CN=localhost", client:tls_info().peer_subject)
      assert.equal("CN=Spec CA", client:tls_info().peer_issuer)
      server:close()
    end
  end)

  it("refuses another host, an address not named, and more than a wildcard stands for", function()
    local err, server_err = refused("wrong", "localhost")
    assert.equal("HOSTNAME_MISMATCH", err.code)
    assert.matches("^handshake localhost %(127.0.0.1:%d+%): hostname mismatch: the certificate " ..
      "is that of CN=wrong.test %(HOSTNAME_MISMATCH%)$", err.message)
    assert.matches("^handshake 127.0.0.1:%d+: the peer says: bad certificate", server_err.message)
    assert.equal("HOSTNAME_MISMATCH", refused("good", "a.b.wild.test").code)
    assert.equal("IP_ADDRESS_MISMATCH", refused("good", "127.0.0.2").code)
  end)

  it("refuses an expired certificate", function()
    local err = refused "expired"
    assert.equal("CERT_HAS_EXPIRED", err.code)
    assert.matches("localhost .*: certificate has expired %(CERT_HAS_EXPIRED%)$", err.message)
  end)

  it("refuses a self-signed certificate", function()
    local err = refused "self"
    assert.equal("DEPTH_ZERO_SELF_SIGNED_CERT", err.code)
    assert.matches("localhost .*: self%-signed certificate %(", err.message)
  end)

  it("refuses a certificate of an authority that is not trusted, and names that", function()
    local err = refused "unknown"
    assert.equal("UNABLE_TO_GET_ISSUER_CERT_LOCALLY", err.code)
    assert.matches("nothing here trusts its issuer, CN=Other CA", err.reason)
  end)

  it("trusts what the system does by default, and no more", function()
    local err = refused("good", "localhost", tls.context())
    assert.equal("UNABLE_TO_GET_ISSUER_CERT_LOCALLY", err.code)
    local child = run(([[
      local lilac = require "lilac"
      local server <close> = lilac.net.serve("127.0.0.1", 0, function(stream)
        stream:write "trusted"
      end, { tls = { cert = "%s", key = "%s" } })
      local stream <close> = lilac.net.connect("localhost", server.port, { tls = true })
      print(stream:read "a")
    ]]):format(made:path "good.pem", made:path "good.key"), { env = "SSL_CERT_FILE=" .. made.ca })
    assert.same({ "trusted\n", "", 0 }, { child.stdout, child.stderr, child.status })
  end)

  it("is off where that is spelled out", function()
    local context = tls.context { verify = false }
    local client, server = plain_pair()
    local task = lilac.create_task(tls.handshake, server,
      tls.context { cert = made:path "self.pem", key = made:path "self.key" },
      { server_side = true })
    tls.handshake(client, context)
    task:await()
    client:close()
    server:close()
  end)

  it("needs to know the host", function()
    local client, server = plain_pair()
    assert.error_matches(function() tls.handshake(client, trusting) end,
      "option 'server_hostname' expected: whom the certificate has to be of")
    assert.equal("function", type(server.read))
  end)

  it("can be asked of clients", function()
    local mine = { ca = made.ca, cert = made:path "client.pem", key = made:path "client.key" }
    for _, client_cert in ipairs { "request", "require" } do
      local context = tls.context { cert = server_options.cert, key = server_options.key,
        ca = made.ca, client_cert = client_cert }
      local client, server = pair({ context = tls.context(mine) }, context)
      assert.equal("CN=a client", server:tls_info().peer_subject)
      client:write "hello\n"
      assert.equal("hello", server:read())
    end
    local asking = tls.context { cert = server_options.cert, key = server_options.key,
      ca = made.ca, client_cert = "request" }
    local client, server = pair({}, asking)
    assert.is_nil(server:tls_info().peer_subject)
    assert.equal("CN=localhost", client:tls_info().peer_subject)
  end)

  it("refuses clients without a certificate, or with one of a stranger", function()
    local context = tls.context { cert = server_options.cert, key = server_options.key,
      ca = made.ca, client_cert = "require" }
    local client, server = plain_pair()
    local ok, _, server_ok, server_err = shake_hands(client, server, {}, context)
    assert.is_false(server_ok)
    assert.equal("PEER_DID_NOT_RETURN_A_CERTIFICATE", server_err.code)
    assert.is_true(ok) -- in TLS 1.3 a client hears of it when it reads
    local err = raises("TLSError", client.read, client)
    assert.matches("^read localhost %(127.*%): the peer says: certificate required", err.message)
    raises("TLSError", client.write, client, "x")
    local stranger = tls.context { ca = made.ca, cert = made:path "unknown.pem",
      key = made:path "unknown.key" }
    local second, second_server = plain_pair()
    _, _, server_ok, server_err = shake_hands(second, second_server, { context = stranger },
      context)
    assert.is_false(server_ok)
    assert.equal("UNABLE_TO_GET_ISSUER_CERT_LOCALLY", server_err.code)
  end)
end)

describe("a peer that says why it leaves", function()
  it("is heard by who writes to it, though it is gone and nobody has read", function()
    local context = tls.context { cert = server_options.cert, key = server_options.key,
      ca = made.ca, client_cert = "require" }
    local client, server = plain_pair()
    local task = settle.start(tls.handshake, client, trusting, { server_hostname = "localhost" })
    raises("TLSError", tls.handshake, server, context, { server_side = true })
    -- The loop has not turned since: the client's end has the alert, and nobody has seen it.
    local err = raises("TLSError", function()
      for _ = 1, 10 do client:write "x" end
    end)
    task:await()
    assert.matches("^write localhost %(127.*%): the peer says: certificate required", err.message)
    assert.equal(err.reason, raises("TLSError", client.read, client).reason)
    assert.equal(err.reason, raises("TLSError", client.flush, client).reason)
  end)
end)

describe("a server with several names", function()
  it("answers with the certificate of the name that a client asks for", function()
    local other = tls.context { cert = made:path "other.pem", key = made:path "other.key",
      alpn = { "other" } }
    local wrong = tls.context { cert = made:path "wrong.pem", key = made:path "wrong.key" }
    local context = tls.context { cert = server_options.cert, key = server_options.key,
      sni = { ["other.test"] = other, ["*.test"] = wrong } }
    other, wrong = nil, nil -- luacheck: ignore
    collectgarbage()
    local asking = tls.context { ca = made.ca, alpn = { "other" } }
    for host, subject in pairs { ["OTHER.test"] = "CN=other.test", ["wrong.test"] = "CN=wrong.test",
      localhost = "CN=localhost" } do
      local client, server = pair({ server_hostname = host, context = asking },
        context)
      assert.equal(subject, client:tls_info().peer_subject)
      assert.equal(host, server:tls_info().server_name)
      assert.equal(host == "OTHER.test" and "other" or nil, server:tls_info().alpn)
    end
  end)
end)

describe("ALPN", function()
  it("chooses what the server likes best of what both speak", function()
    local context = tls.context { cert = server_options.cert, key = server_options.key,
      alpn = { "h2", "http/1.1" } }
    local client, server = pair(
      { context = tls.context { ca = made.ca, alpn = { "http/1.1", "spdy", "h2" } } }, context)
    assert.same({ "h2", "h2" }, { client:tls_info().alpn, server:tls_info().alpn })
    local second, second_server = pair({}, context)
    assert.is_nil(second:tls_info().alpn)
    assert.is_nil(second_server:tls_info().alpn)
  end)

  it("ends the handshake when there is nothing in common", function()
    local context = tls.context { cert = server_options.cert, key = server_options.key,
      alpn = { "h2" } }
    local client, server = plain_pair()
    local ok, err, server_ok, server_err = shake_hands(client, server,
      { context = tls.context { ca = made.ca, alpn = { "x" } } }, context)
    assert.same({ false, false }, { ok, server_ok })
    assert.matches("the peer says: no application protocol", err.message)
    assert.equal("NO_APPLICATION_PROTOCOL", server_err.code)
  end)
end)

describe("a session", function()
  it("is resumed by the context of the client, for the same host", function()
    local context = tls.context { ca = made.ca }
    for i, reused in ipairs { false, true, true } do
      local client, server = pair { context = context }
      server:write "x"
      client:read(1) -- the session comes with the first bytes
      assert.same({ reused, reused, i },
        { client:tls_info().session_reused, server:tls_info().session_reused, i })
      assert.equal("CN=localhost", client:tls_info().peer_subject)
    end
    local client, server = pair { context = context, server_hostname = "::1" }
    assert.is_false(client:tls_info().session_reused)
    server:close()
  end)

  it("is remembered for so many hosts", function()
    local context = tls.context { ca = made.ca }
    local function connect(name)
      local client, server = pair { context = context,
        server_hostname = name .. ".wild.test" }
      server:write "x"
      client:read(1)
      return client:tls_info().session_reused
    end
    for i = 1, 66 do assert.is_false(connect("h" .. i)) end
    assert.is_true(connect "h66")
    assert.is_false(connect "h1")
  end)
end)

describe("versions", function()
  it("are 1.2 and 1.3, at least what is asked for", function()
    local client, server = pair()
    assert.same({ "TLSv1.3", "TLSv1.3" },
      { client:tls_info().version, server:tls_info().version })
    assert.matches("^TLS_", client:tls_info().cipher)
    local job <close> = background(("exec openssl s_server -accept 127.0.0.1:0 -cert %s -key %s " ..
      "-rev -tls1_2"):format(server_options.cert, server_options.key))
    local port = math.tointeger(job:wait_for "ACCEPT 127.0.0.1:(%d+)")
    local second <close> = tcp.connect("127.0.0.1", port)
    tls.handshake(second, trusting, { server_hostname = "localhost" })
    assert.equal("TLSv1.2", second:tls_info().version)
    second:write "abc\n"
    assert.equal("cba", second:read())
    second:close()
    local third = tcp.connect("127.0.0.1", port)
    local err = raises("TLSError", tls.handshake, third,
      tls.context { ca = made.ca, min_version = "1.3" }, { server_hostname = "localhost" })
    assert.matches("protocol version", err.message)
  end)

  it("before 1.2 are refused", function()
    local listener <close> = tcp.listen("127.0.0.1", 0)
    local job <close> = background(("exec openssl s_client -connect 127.0.0.1:%d -tls1_1 " ..
      "-cipher ALL:@SECLEVEL=0"):format(listener.port))
    local server = listener:accept()
    local err = raises("TLSError", tls.handshake, server, serving, { server_side = true })
    assert.equal("UNSUPPORTED_PROTOCOL", err.code)
    assert.equal(1, job:wait())
  end)
end)

describe("the handshake", function()
  it("returns the stream, which is the same object", function()
    local client, server = plain_pair()
    local task = lilac.create_task(tls.handshake, server, serving, { server_side = true })
    assert.equal(client, tls.handshake(client, trusting, { server_hostname = "localhost" }))
    assert.equal(server, task:await())
    assert.matches("^Stream %(localhost %(127.0.0.1:%d+%)%)", tostring(client))
    assert.same({ server:sockname() }, { client:peername() })
    assert.same({ client:peername() }, { server:sockname() })
    assert.is_nil(plain_pair():tls_info())
  end)

  it("comes after what was written in plain", function()
    local client, server = plain_pair()
    local writer = settle.start(server.write, server, "ready\n", ("x"):rep(8 * MIB))
    local task = settle.start(tls.handshake, server, serving, { server_side = true })
    assert.equal("ready", client:read())
    assert.equal(8 * MIB, #client:read(8 * MIB))
    tls.handshake(client, trusting, { server_hostname = "localhost" })
    task:await()
    writer:await()
  end)

  it("takes what has come before it as the peer's part of it", function()
    local client, server = plain_pair()
    local task = settle.start(tls.handshake, client, trusting, { server_hostname = "localhost" })
    server:read(0) -- so that it is there
    tls.handshake(server, serving, { server_side = true })
    task:await()
  end)

  it("can be cancelled while plain data is still being sent, which leaves the stream", function()
    local client, server = plain_pair()
    local writer = settle.start(server.write, server, ("x"):rep(8 * MIB))
    local task = settle.start(tls.handshake, server, serving, { server_side = true })
    task:cancel()
    settle()
    assert.is_true(task:cancelled())
    task = settle.start(tls.handshake, server, serving, { server_side = true })
    server:close()
    raises("ClosedError", task.await, task)
    raises("ClosedError", writer.await, writer)
    assert.equal(8 * MIB, #client:read "a")
  end)

  it("is cancelled also when the plain data was sent, and another has written more", function()
    local client, server = plain_pair()
    local plain = ("x"):rep(8 * MIB)
    local writer = settle.start(server.write, server, plain)
    local task = settle.start(tls.handshake, server, serving, { server_side = true })
    local reader = lilac.create_task(client.read, client, 2 * #plain)
    if not woken(task) then -- shuffled tasks: it shakes hands already
      task:cancel()
      reader:cancel()
      writer:cancel()
      return settle()
    end
    task:cancel()
    server:write(plain)
    lilac.wait({ task }, { timeout = 5 })
    assert.is_true(task:cancelled())
    writer:await()
    assert.equal(2 * #plain, #reader:await())
  end)

  it("says what the peer sent instead", function()
    local client, server = plain_pair()
    server:write "220 this is no TLS\r\n"
    local err = raises("TLSError", tls.handshake, client, trusting,
      { server_hostname = "localhost" })
    assert.matches("^handshake localhost %(127.0.0.1:%d+%): wrong version number " ..
      "%(WRONG_VERSION_NUMBER%)$", err.message)
    assert.equal("wrong version number", err.reason)
    raises("ClosedError", client.read, client) -- it is closed then
    server:close()

    client, server = plain_pair()
    client:write "GET / HTTP/1.0\r\n\r\n"
    err = raises("TLSError", tls.handshake, server, serving, { server_side = true })
    assert.equal("HTTP_REQUEST", err.code)
    client:close()
  end)

  it("fails when the peer goes away in it", function()
    local client, server = plain_pair()
    server:close()
    local err = raises("OSError", tls.handshake, client, trusting,
      { server_hostname = "localhost" })
    assert.matches("^handshake localhost %(127.0.0.1:%d+%): ", err.message)
    client, server = plain_pair()
    client:shutdown()
    err = raises("TLSError", tls.handshake, server, serving, { server_side = true })
    assert.matches(": the peer closed the connection %(UNEXPECTED_EOF%)$", err.message)
    client:close()
    client, server = plain_pair()
    client:shutdown()
    server:read "a"
    raises("TLSError", tls.handshake, server, serving, { server_side = true })
    client:close()
    server:close()
  end)

  it("is given up by a timeout when the peer is silent, which closes the stream", function()
    local client, server = plain_pair()
    raises("TimeoutError", lilac.timeout, 0.01, tls.handshake, client, trusting,
      { server_hostname = "localhost" })
    raises("ClosedError", client.read, client)
    assert.is_true(#server:read "a" > 100) -- the beginning of a handshake
  end)

  it("can be cancelled", function()
    local client, server = plain_pair()
    local task = settle.start(tls.handshake, client, trusting, { server_hostname = "localhost" })
    task:cancel()
    settle()
    assert.is_true(task:cancelled())
    assert.is_true(#server:read "a" > 100)
  end)

  it("ends with a ClosedError when another task closes the stream", function()
    local client, server = plain_pair()
    local task = settle.start(tls.handshake, client, trusting, { server_hostname = "localhost" })
    client:close()
    assert.matches("start_tls: the Stream is closed",
      raises("ClosedError", task.await, task).message)
    assert.is_true(#server:read "a" > 100)
  end)

  it("is not for two tasks, nor beside a reader, nor twice", function()
    local client, server = plain_pair()
    local function begin(stream, options)
      return tls.handshake(stream, options and serving or trusting,
        options or { server_hostname = "localhost" })
    end
    local reader = settle.start(client.read, client)
    assert.matches("start_tls: .* is at it already",
      raises("InvalidStateError", begin, client).message)
    reader:cancel()
    settle()
    local task = settle.start(begin, client)
    raises("InvalidStateError", begin, client)
    assert.matches("tls:handshake", raises("InvalidStateError", client.read, client).message)
    client:write "early\n" -- goes out encrypted
    begin(server, { server_side = true })
    task:await()
    assert.equal("early", server:read())
    assert.matches("speaks TLS already", raises("InvalidStateError", begin, client).message)
  end)

  it("checks its arguments", function()
    local client, server = plain_pair()
    local function wrong(pattern, ...)
      local ok, err = pcall(tls.handshake, ...)
      assert.is_false(ok)
      assert.matches(pattern, tostring(err))
    end
    wrong("Stream expected, got no value")
    wrong("Context expected, got table", client, {})
    wrong("unknown option 'x'; known: server_side, server_hostname", client, trusting, { x = 1 })
    wrong("a Context without option 'cert' cannot serve", client, trusting, { server_side = true })
    wrong("option 'server_hostname' is for clients", client, serving,
      { server_side = true, server_hostname = "x" })
    wrong("a host name of 1 to 255 bytes", client, trusting, { server_hostname = "" })
    wrong("a host name of 1 to 255 bytes", client, trusting,
      { server_hostname = ("x"):rep(256) })
    wrong("a host name of 1 to 255 bytes", client, trusting, { server_hostname = "a\0b" })
    client:close()
    wrong("the Stream is closed", client, trusting)
    server:close()
  end)
end)

describe("a TLS stream", function()
  it("reads in every format", function()
    local client, server = pair()
    server:write("one\ntwo\n\n", 12, "345", "a\0ab|", "x", "rest")
    server:close()
    assert.same({ "one", "two\n", "\n", "123", "4", "5a\0ab|", "x" }, { client:read(),
      client:read "L", client:read "L", client:read(3), client:read_some(1),
      client:read_until "ab|", client:read_exactly(1) })
    assert.same({ "", "rest", "" }, { client:read(0), client:read "a", client:read "a" })
    assert.is_nil(client:read())
    assert.is_nil(client:read_some())
    assert.is_nil(client:read(0))
    raises("IncompleteReadError", client.read_exactly, client, 1)
  end)

  it("writes more pieces than one system call takes, and long ones among them", function()
    local client, server = pair()
    local pieces = {}
    for i = 1, 100 do pieces[i] = ("%d,"):format(i):rep(i % 10 == 0 and 5000 or 1) end
    local task = lilac.create_task(function()
      client:write(table.unpack(pieces))
      client:close()
    end)
    assert.equal(table.concat(pieces), server:read "a")
    task:await()
  end)

  it("takes lines up to its limit", function()
    local client, server = pair { tcp = { limit = 10 } }
    server:write(("x"):rep(30), "\n")
    raises("LimitOverrunError", client.read, client)
    assert.equal(("x"):rep(30), client:read(30))
  end)

  it("passes much in both directions at once, past a slow reader", function()
    local client, server = pair()
    local size = 64 * MIB
    local piece = ("0123456789abcdef"):rep(64 * KIB // 16)
    local function send(stream)
      for _ = 1, size // #piece do stream:write(piece) end
      stream:shutdown()
    end
    local function receive(stream, rest)
      local total, turns = 0, 0
      for data in function() return stream:read_some(100000) end do
        if data:byte() ~= piece:byte(total % 16 + 1) then error "the bytes are not in order" end
        total, turns = total + #data, turns + 1
        if turns % 16 == 0 then lilac.sleep(rest) end
      end
      return total
    end
    local one, two, slow, slower = lilac.gather(
      function() return send(client) end, function() return send(server) end,
      function() return receive(client, 0) end, function() return receive(server, 0.0001) end)
    assert.same({ nil, nil, size, size }, { one, two, slow, slower })
  end)

  it("holds what nobody reads only up to a bound, and the writer waits", function()
    local client, server = pair()
    local written = 0
    local writer = settle.start(function()
      while true do
        server:write(("x"):rep(64 * KIB))
        written = written + 64 * KIB
      end
    end)
    client:read(1)
    local last
    repeat
      last = written
      for _ = 1, 10 do lilac.sleep(0.001) end
    until written == last
    assert.is_true(written < 16 * MIB)
    collectgarbage()
    writer:cancel()
    local text = lilac.create_task(function() return client:read "a" end)
    server:close()
    assert.is_true(1 + #text:await() >= written) -- and what was accepted is sent
  end)

  it("loses nothing when a read is cancelled", function()
    local client, server = pair()
    local task = settle.start(client.read_exactly, client, 10)
    server:write "12345"
    settle()
    task:cancel()
    settle()
    assert.is_true(task:cancelled())
    server:write "67890"
    assert.equal("1234567890", client:read_exactly(10))
  end)

  it("wakes who reads and who writes when it is closed", function()
    local client, server = pair()
    local reader = settle.start(client.read, client)
    local writer = settle.start(client.write, client, ("x"):rep(16 * MIB))
    assert.is_false(writer:done())
    client:close()
    raises("ClosedError", reader.await, reader)
    raises("ClosedError", writer.await, writer)
    assert.equal(16 * MIB, #server:read "a") -- what was accepted is sent, and the end is orderly
  end)

  it("refuses a second reader", function()
    local client, server = pair()
    local reader = settle.start(client.read, client)
    raises("InvalidStateError", client.read, client)
    server:write "x\n"
    assert.equal("x", reader:await())
  end)

  it("flushes to the system", function()
    local client, server = pair()
    local size = 8 * MIB
    local writer = settle.start(client.write, client, ("x"):rep(size))
    local flush = settle.start(client.flush, client)
    assert.is_false(flush:done())
    assert.equal(size, #server:read(size))
    flush:await()
    writer:await()
  end)

  it("ends one direction after what is queued, and the other goes on", function()
    local client, server = pair()
    local writer = settle.start(client.write, client, ("x"):rep(4 * MIB))
    local shutdown = settle.start(client.shutdown, client)
    assert.equal(4 * MIB, #server:read "a")
    shutdown:await()
    writer:await()
    raises("InvalidStateError", client.write, client, "x")
    server:write(("y"):rep(MIB))
    server:shutdown()
    assert.equal(MIB, #client:read "a")
  end)

  --- A client and a server, with a man in the middle who may change what the server sends; and
  --- the man's end of the client's connection.
  local function pair_around(change)
    local client, near = plain_pair()
    local far, server = plain_pair()
    local function pass(from, to, how)
      pcall(function()
        for data in function() return from:read_some() end do to:write(how(data)) end
      end)
    end
    lilac.create_task(pass, near, far, function(data) return data end)
    lilac.create_task(pass, far, near, change or function(data) return data end)
    local ok, err = shake_hands(client, server, {})
    assert.is_true(ok, tostring(err))
    return client, server, near
  end

  it("tells a cut from an end", function()
    local client, server, middle = pair_around()
    server:write "half of i"
    assert.equal("half ", client:read(5))
    middle:close() -- in the way of TCP
    assert.equal("of i", client:read_some())
    local err = raises("TLSError", client.read, client)
    assert.matches("^read localhost %(127.0.0.1:%d+%): the connection was cut: it ended without " ..
      "close_notify %(UNEXPECTED_EOF%)$", err.message)
    assert.same({ "UNEXPECTED_EOF", "UNEXPECTED_EOF" },
      { err.code, raises("TLSError", client.read, client, "a").code })
  end)

  it("does not believe what was changed on the way", function()
    local client, server = pair_around(function(data)
      if #data < 5000 then return data end
      return data:sub(1, 100) .. string.char(data:byte(101) ~ 1) .. data:sub(102)
    end)
    server:write "fine\n"
    assert.equal("fine", client:read())
    server:write(("x"):rep(6000))
    local err = raises("TLSError", client.read_some, client)
    assert.equal("DECRYPTION_FAILED_OR_BAD_RECORD_MAC", err.code)
    raises("TLSError", client.write, client, "x")
    err = raises("TLSError", server.read, server)
    assert.matches("the peer says: bad record mac", err.message)
  end)

  it("is freed when it is collected", function()
    local server = select(2, pair())
    opened = { server }
    collectgarbage()
    collectgarbage()
    assert.is_nil(server:read())
  end)
end)

describe("openssl s_client", function()
  local function client(port, options)
    return background(("echo hello | openssl s_client -connect 127.0.0.1:%d -servername " ..
      "localhost -CAfile %s -verify_return_error -quiet %s"):format(port, made.ca, options or ""))
  end

  local function echo(listener, context)
    local server = listener:accept()
    tls.handshake(server, context, { server_side = true })
    local line = server:read()
    server:write("you said ", line, "\n")
    server:close()
    return line
  end

  it("talks to a server, in TLS 1.3 and 1.2", function()
    local listener <close> = tcp.listen("127.0.0.1", 0)
    for _, version in ipairs { "-tls1_3", "-tls1_2" } do
      local job <close> = client(listener.port, version)
      assert.equal("hello", echo(listener, serving))
      assert.equal(0, job:wait())
      assert.equal("you said hello\n", job:output())
    end
  end)

  it("shows its certificate to a server that wants one", function()
    local listener <close> = tcp.listen("127.0.0.1", 0)
    local context = tls.context { cert = server_options.cert, key = server_options.key,
      ca = made.ca, client_cert = "require" }
    local job <close> = client(listener.port, ("-cert %s -key %s"):format(
      made:path "client.pem", made:path "client.key"))
    assert.equal("hello", echo(listener, context))
    assert.equal(0, job:wait())
  end)

  it("resumes a session of a server", function()
    local listener <close> = tcp.listen("127.0.0.1", 0)
    for _, version in ipairs { "-tls1_3", "-tls1_2" } do
      for _, option in ipairs { "-sess_out", "-sess_in" } do
        local job <close> = client(listener.port,
          ("%s %s %s"):format(version, option, made:path "session"))
        local server = listener:accept()
        tls.handshake(server, serving, { server_side = true })
        assert.equal("hello", server:read())
        assert.equal(option == "-sess_in", server:tls_info().session_reused)
        server:close()
        assert.equal(0, job:wait())
      end
    end
  end)

  --- A client that takes commands, the server it has, and what it is told by.
  local function commanded(version)
    local listener <close> = tcp.listen("127.0.0.1", 0)
    local path = made:path "commands"
    os.execute(("rm -f %s; mkfifo %s"):format(path, path))
    local commands = io.open(path, "r+")
    local job = background(("exec openssl s_client -connect 127.0.0.1:%d %s -CAfile %s <%s")
      :format(listener.port, version, made.ca, path))
    local server = listener:accept()
    opened[#opened + 1] = server
    tls.handshake(server, serving, { server_side = true })
    return job, server, function(text) commands:write(text, "\n"):flush() end
  end

  it("changes its keys, and wants the server to", function()
    local job <close>, server, tell = commanded "-tls1_3"
    tell "a"
    assert.equal("a", server:read())
    tell "K"
    lilac.timeout(30, function()
      while not job:errors():find "KEYUPDATE" do lilac.sleep(0.01) end
    end)
    tell "b"
    assert.equal("b", server:read())
    server:write "c\n"
    job:wait_for "\nc\n"
  end)

  it("cannot renegotiate", function()
    local job <close>, server, tell = commanded "-tls1_2"
    tell "a"
    assert.equal("a", server:read())
    tell "R"
    raises("TLSError", server.read, server) -- the client does not like to be refused
    assert.equal(1, job:wait())
    assert.matches("no renegotiation", job:errors())
  end)
end)

describe("openssl s_server", function()
  local function server(name, options)
    local job = background(("exec openssl s_server -accept 127.0.0.1:0 -cert %s -key %s -rev %s")
      :format(made:path(name .. ".pem"), made:path(name .. ".key"), options or ""))
    return job, math.tointeger(job:wait_for "ACCEPT 127.0.0.1:(%d+)")
  end

  local function connect(port, context)
    local stream = tcp.connect("127.0.0.1", port)
    return tls.handshake(stream, context or trusting, { server_hostname = "localhost" })
  end

  it("talks to a client, which resumes its session", function()
    for _, version in ipairs { "-tls1_3", "-tls1_2" } do
      local _ <close>, port = server("good", version)
      local context = tls.context { ca = made.ca }
      for i = 1, 2 do
        local stream <close> = connect(port, context)
        stream:write "hello\n"
        assert.equal("olleh", stream:read())
        assert.equal(i == 2, stream:tls_info().session_reused)
      end
    end
  end)

  it("is refused with what is wrong with its certificate", function()
    for name, code in pairs {
      expired = "CERT_HAS_EXPIRED",
      self = "DEPTH_ZERO_SELF_SIGNED_CERT",
      wrong = "HOSTNAME_MISMATCH",
      unknown = "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
    } do
      local _ <close>, port = server(name)
      assert.equal(code, raises("TLSError", connect, port).code)
    end
  end)

  it("chooses a protocol, and sees the certificate of a client", function()
    local _ <close>, port = server("good", "-alpn one,two -Verify 1 -CAfile " .. made.ca)
    local context = tls.context { ca = made.ca, cert = made:path "client.pem",
      key = made:path "client.key", alpn = { "two" } }
    local stream <close> = connect(port, context)
    stream:write "hello\n"
    assert.equal("olleh", stream:read())
    assert.equal("two", stream:tls_info().alpn)
  end)

  it("that is killed has cut the connection", function()
    local job, port = server "good"
    local stream <close> = connect(port)
    stream:write "hello\n"
    assert.equal("olleh", stream:read())
    job:kill "KILL"
    assert.equal("UNEXPECTED_EOF", raises("TLSError", stream.read, stream).code)
  end)
end)

describe("a library that cannot be loaded", function()
  it("is an error at the first use, and not before", function()
    os.execute("mkdir " .. made:path "lib" .. " && : > " .. made:path "lib/libssl.so.3")
    local child = run([[print(pcall(require "lilac".tls.context))]],
      { env = "LD_LIBRARY_PATH=" .. made:path "lib" })
    assert.matches("TLSError: context: .*libssl.so.3: file too short %(NO_LIBRARY%)", child.stdout)
    assert.equal(0, child.status)
  end)
end)
