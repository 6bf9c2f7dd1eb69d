-- An echo server in TLS; client.c drives and measures it.
local lilac = require "lilac"

local server = lilac.net.serve("127.0.0.1", 0, function(stream)
  for data in function() return stream:read_some() end do
    stream:write(data)
  end
end, { tls = { cert = arg[1] } })
print(server.port)
io.stdout:flush()
server:serve_forever()
