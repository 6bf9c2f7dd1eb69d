local copas = require "copas"
local socket = require "socket"

local server = assert(socket.bind("127.0.0.1", 0))

copas.addserver(server, function(raw)
  local connection = copas.wrap(raw)
  connection:settimeout(0)
  while true do
    local data, _, part = connection:receive(65536)
    data = data or part
    if not data or data == "" then break end
    connection:send(data)
  end
end)
print((select(2, server:getsockname())))
io.stdout:flush()
copas.loop()
