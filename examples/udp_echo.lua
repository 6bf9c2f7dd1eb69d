-- A UDP echo server and a client that cannot trust it: datagrams get lost, so it asks again when no
-- answer has come in time.

local lilac = require "lilac"
local net = lilac.net

local server <close> = net.udp { host = "127.0.0.1" }

-- Loses every other datagram, as networks do.
local heard = 0
lilac.create_task(function()
  for data, host, port in server do
    heard = heard + 1
    if heard % 2 == 0 then server:send(data:upper(), host, port) end
  end
end)

local client <close> = net.udp { host = "127.0.0.1" }
client:connect("localhost", server.port)

local ask = lilac.retry { attempts = 5, delay = 0, timeout = 0.25, on = "TimeoutError" } (
  function(question)
    client:send(question)
    return (client:recv())
  end)

for _, question in ipairs { "hello", "world", "bye" } do print(ask(question)) end
print(("%d datagrams for 3 answers"):format(heard))
