-- A library that blocks, off the loop: LuaSocket knows nothing of lilac, and its calls hold the
-- thread that they run in. to_thread gives them one. (Debian: lua-socket.)

local lilac = require "lilac"

-- A slow server, which this very loop serves: LuaSocket called here would wait for ever.
local server <close> = lilac.net.serve("127.0.0.1", 0, function(stream)
  local name = stream:read "l"
  lilac.sleep(0.05)
  stream:write("hello ", name, "\n")
end)

-- Runs in a thread, where `require` loads LuaSocket for the state of that thread.
local function ask(port, name)
  local socket = require "socket"
  local client = assert(socket.connect("127.0.0.1", port))
  assert(client:send(name .. "\n"))
  local answer = assert(client:receive "*l")
  client:close()
  return answer
end

local turns = 0
local ticker = lilac.create_task(function()
  while true do
    lilac.sleep(0.001)
    turns = turns + 1
  end
end)

local answers = lilac.gather {
  function() return lilac.to_thread(ask, server.port, "ann") end,
  function() return lilac.to_thread(ask, server.port, "bob") end,
}
ticker:cancel()
print(answers[1])
print(answers[2])
print("the loop went on: " .. tostring(turns > 3))

-- Errors come back as if it had been called here.
print(select(2, pcall(lilac.to_thread, function()
  error("no such host", 0)
end)))
