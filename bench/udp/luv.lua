local uv = require "luv"

local CLIENTS <const> = 50
local count, size = tonumber(arg[1]), tonumber(arg[2])
local message = ("x"):rep(size)
local to_ask, to_hear = count - CLIENTS, count

local start = os.clock()

local server = uv.new_udp()
server:bind("127.0.0.1", 0)
server:recv_start(function(_, data, from)
  if data then server:try_send(data, from.ip, from.port) end
end)

local port = server:getsockname().port
for _ = 1, CLIENTS do
  local client = uv.new_udp()
  client:recv_start(function(_, data)
    if not data then return end
    assert(#data == size)
    to_hear = to_hear - 1
    if to_hear == 0 then uv.stop() end
    if to_ask > 0 then client:try_send(message, "127.0.0.1", port) end
    to_ask = to_ask - 1
  end)
  client:try_send(message, "127.0.0.1", port)
end
uv.run()
print("us", (os.clock() - start) / count * 1e6)
