-- An echo server; client.c drives and measures it. With an argument, over the Unix socket of that
-- path.
local net = require "lilac".net

local function echo(stream)
  local data = stream:read_some()
  while data do
    stream:write(data)
    data = stream:read_some()
  end
end

local server = arg[1] and net.serve_unix(arg[1], echo) or net.serve("127.0.0.1", 0, echo)
print(server.path or server.port)
io.stdout:flush()
server:serve_forever()
