local socket = require "cqueues.socket"
local context = require "openssl.ssl.context"
local pkey = require "openssl.pkey"
local x509 = require "openssl.x509"
local serve = dofile "bench/cqueues_echo.lua"

local file = assert(io.open(arg[1]))
local pem = file:read("a")
file:close()

local tls = context.new("TLS", true)
tls:setCertificate(x509.new(pem))
tls:setPrivateKey(pkey.new(pem))

serve(assert(socket.listen("127.0.0.1", 0)), function(connection)
  connection:onerror(function(_, _, why) return why end)
  return connection:starttls(tls)
end)
