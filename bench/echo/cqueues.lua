local cqueues = require "cqueues"
local socket = require "cqueues.socket"

local loop = cqueues.new()
local path = arg[1]
local server = assert(path and socket.listen { path = path } or socket.listen("127.0.0.1", 0))

local function echo(connection)
  connection:setmode("bn", "bn")
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
print(path or (select(3, server:localname())))
io.stdout:flush()
assert(loop:loop())
