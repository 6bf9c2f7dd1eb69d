-- A server on two cores: the handler runs in two threads, each with a loop and a Lua state of its
-- own. They share the port; the system deals out the connections. What the workers are to know of
-- each other goes through a channel.

local lilac = require "lilac"
local net = lilac.net

local served = lilac.Channel()

local function handler(stream)
  count = (count or 0) + 1 -- luacheck: ignore
  for line in stream:lines() do
    stream:write(line:upper(), "\n")
    served:put(tostring(lilac)) -- which state it was
  end
end

local server <close> = net.serve("127.0.0.1", 0, handler, { workers = 2 })

local function ask(word)
  local stream <close> = net.connect("127.0.0.1", server.port)
  stream:write(word, "\n")
  return stream:read "l"
end

print(ask "hello", ask "world")

local states, workers = {}, 0
for _ = 1, 1000 do
  ask "again"
  local state = served:get()
  if not states[state] then workers = workers + 1 end
  states[state] = true
  if workers == 2 then break end
end
print("workers that have served: " .. workers)
print("count here: " .. tostring(count)) -- luacheck: ignore
