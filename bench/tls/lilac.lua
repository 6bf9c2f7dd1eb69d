-- An echo server in TLS; client.c drives and measures it.
local lilac = require "lilac"

local server = lilac.net.serve("127.0.0.1", 0, function(stream)
  local data = stream:read_some()
  while data do
    stream:write(data)
    data = stream:read_some()
  end
end, { tls = { cert = arg[1] } })
print(server.port)
io.stdout:flush()
server:serve_forever()
