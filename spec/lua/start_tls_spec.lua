local lilac = require "lilac"
local tcp = require "lilac.tcp"
local start_tls = require "lilac.start_tls"
local certificates = require "spec.support.certificates"
local raises = require "spec.support.raises"

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
    raises("TimeoutError", client.start_tls, client,
      { verify = false, handshake_timeout = 0.01 })
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
    wrong("option 'handshake_timeout': seconds expected, got string", { handshake_timeout = "x" })
    wrong("a server needs a certificate: option 'cert'", { server_side = true })
    wrong("option 'server_hostname' expected: whom", true)
    wrong("option 'server_hostname' expected: whom", context)
    wrong("option 'verify': boolean expected, got string", { verify = "no" })
    client:close()
    raises("ClosedError", client.start_tls, client)
  end)
end)

describe("start_tls.prepare", function()
  it("does not let the fixed options be another's, but for the host of a client", function()
    local shake_hands = start_tls.prepare({ server_hostname = "localhost", ca = made.ca },
      { server_hostname = "127.0.0.2" }, error)
    local listener <close> = tcp.listen("127.0.0.1", 0)
    local client <close> = tcp.connect("127.0.0.1", listener.port)
    local server <close> = listener:accept()
    local task = lilac.create_task(start_tls.start, server,
      { server_side = true, cert = cert, key = key })
    assert.equal(client, shake_hands(client))
    task:await()
  end)
end)
