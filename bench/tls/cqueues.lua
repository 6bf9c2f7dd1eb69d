local cqueues = require "cqueues"
local socket = require "cqueues.socket"
local context = require "openssl.ssl.context"
local pkey = require "openssl.pkey"
local x509 = require "openssl.x509"

local file = assert(io.open(arg[1]))
local pem = file:read("a")
file:close()

local tls = context.new("TLS", true)
tls:setCertificate(x509.new(pem))
tls:setPrivateKey(pkey.new(pem))

local loop = cqueues.new()
local server = assert(socket.listen("127.0.0.1", 0))

local function echo(connection)
  connection:setmode("bn", "bn")
  connection:onerror(function(_, _, why) return why end)
  if not connection:starttls(tls) then return connection:close() end
  for data in function() return connection:read(-65536) end do
    connection:write(data)
  end
  connection:close()
end

loop:wrap(function()
  for connection in server:clients() do
    loop:wrap(echo, connection)
  end
end)
assert(server:listen())
print((select(3, server:localname())))
io.stdout:flush()
assert(loop:loop())
