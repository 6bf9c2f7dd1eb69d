-- A UDP echo server and 50 clients, one datagram in flight from each: CPU per exchange, both ends.
local lilac = require "lilac"

local CLIENTS <const> = 50
local count, size = tonumber(arg[1]), tonumber(arg[2])
local message = ("x"):rep(size)

local server = lilac.net.udp { host = "127.0.0.1" }

local function serve()
  for data, host, port in server do server:send(data, host, port) end
end

local function ask()
  local socket <close> = lilac.net.udp { host = "127.0.0.1" }
  socket:connect("127.0.0.1", server.port)
  for _ = 1, count // CLIENTS do
    socket:send(message)
    assert(#socket:recv() == size)
  end
end

local start = os.clock()
lilac.create_task(serve)
local tasks = {}
for i = 1, CLIENTS do tasks[i] = lilac.create_task(ask) end
lilac.gather(tasks)
print("us", (os.clock() - start) / count * 1e6)
