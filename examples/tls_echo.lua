-- TLS: an echo server, and a client that trusts it. A real server has a certificate that the system
-- of its clients trusts, in files; this one makes its own, and its client is told.

local lilac = require "lilac"
local net, tls = lilac.net, lilac.tls

local function certificate_of(host)
  local pipe <close> = assert(io.popen(([[
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 \
      -subj /CN=%s -addext subjectAltName=DNS:%s -keyout /dev/stdout 2>/dev/null
  ]]):format(host, host)))
  return pipe:read "a" -- with its key
end

local function echo(stream)
  for line in stream:lines() do stream:write(line, "\n") end
end

local certificate = certificate_of "localhost"
local server <close> = net.serve("127.0.0.1", 0, echo, {
  tls = { cert = certificate, alpn = { "echo" } },
})

-- A context remembers the sessions of servers: the second handshake is a short one.
local context = tls.context { ca = certificate, alpn = { "echo" } }
for _, text in ipairs { "hello", "hello again" } do
  local stream <close> = net.connect("localhost", server.port, { tls = context })
  stream:write(text, "\n")
  local info = stream:tls_info()
  print(("%s: %s, %s, %s"):format(stream:read(), info.version, info.alpn,
    info.session_reused and "resumed" or "new"))
end
