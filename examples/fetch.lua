-- Fetches several things at once: as many connections, each in its own task.
-- The server is part of the script; it answers one line for a line, and takes its time.

local lilac = require "lilac"

local SECONDS = 0.2
local sizes = { apple = 52, cherry = 50, grape = 69, lemon = 29, plum = 46 }

local server <close> = lilac.net.serve("127.0.0.1", 0, function(stream)
  for name in stream:lines() do
    lilac.sleep(SECONDS)
    stream:write(sizes[name] or "?", "\n")
  end
end)

local function fetch(name)
  local stream <close> = lilac.net.connect("127.0.0.1", server.port)
  stream:write(name, "\n")
  return tonumber(stream:read("l"))
end

local names = { "apple", "cherry", "grape", "lemon", "plum" }
local fetches = {}
for i, name in ipairs(names) do
  fetches[i] = function() return fetch(name) end
end

local began = lilac.time()
local results = lilac.gather(fetches)
local took = lilac.time() - began

for i, name in ipairs(names) do
  print(("%-6s %d kcal"):format(name, results[i]))
end
print("all at once: " .. tostring(took < #names * SECONDS))
