-- Finds services on the local network without a directory: who looks for one asks a multicast
-- group, and every service that is a member answers for itself. Here all of it is in one program,
-- on the loopback interface; with "eth0" in its place it spans machines.

local lilac = require "lilac"
local net = lilac.net

local GROUP, INTERFACE = "239.255.77.1", "lo"

-- A service: one socket, one loop. `reuse_addr` lets several on one machine hear the group.
local function announce(name, port)
  local socket <close> = net.udp { host = "0.0.0.0", port = port, reuse_addr = true }
  socket:join(GROUP, INTERFACE)
  for question, host, from in socket do
    if question == "who is there?" then
      socket:send(name .. " is here", host, from)
    end
  end
end

-- Whoever answers in time, as they come.
local function look_for_services(port, patience)
  local socket <close> = net.udp { host = "127.0.0.1", multicast_interface = INTERFACE }
  socket:send("who is there?", GROUP, port)
  local found = {}
  lilac.move_on_after(patience, function()
    for answer in socket do found[#found + 1] = answer end
  end)
  table.sort(found)
  return found
end

local port = tonumber(arg[1]) or 7788
local services = {}
for i, name in ipairs { "printer", "scanner", "toaster" } do
  services[i] = lilac.create_task(announce, name, port)
end
lilac.sleep(0.1) -- they have joined

for _, answer in ipairs(look_for_services(port, 0.3)) do print(answer) end
for _, service in ipairs(services) do service:cancel() end
