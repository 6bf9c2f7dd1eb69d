-- 50 clients connect, wait until the server has closed the connection, and connect again: CPU per
-- connection, both ends.
local lilac = require "lilac"

local CLIENTS <const> = 50
local count = tonumber(arg[1])

local function leave() end

local function visit(port)
  for _ = 1, count // CLIENTS do
    local stream <close> = lilac.net.connect("127.0.0.1", port)
    assert(stream:read_some() == nil)
  end
end

local start = os.clock()
local server <close> = lilac.net.serve("127.0.0.1", 0, leave)
local tasks = {}
for i = 1, CLIENTS do tasks[i] = lilac.create_task(visit, server.port) end
lilac.gather(tasks)
print("us", (os.clock() - start) / count * 1e6)
