-- A chat server: lilac examples/chat.lua [port [limit]], then `nc 127.0.0.1 <port>`, several times.
-- More clients than the limit wait until one leaves. SIGTERM or Ctrl-C cancels the main task, which
-- catches that: the clients are told, the connections closed, and the exit status is 0.

local lilac = require "lilac"
io.stdout:setvbuf("line")

local outboxes = {} -- of the clients: stream → queue of lines

local function tell_all(text)
  for stream, outbox in pairs(outboxes) do
    if not pcall(outbox.put_nowait, outbox, text) then stream:close() end -- it never reads
  end
end

-- In a task of its own, so that a slow client delays nobody else.
local function deliver(stream, outbox)
  for line in outbox:iter() do stream:write(line, "\n") end
end

-- When a client is done with: says a last word to somebody, and waits until it is delivered.
local function leave(stream, name, writer, err)
  local outbox = outboxes[stream]
  outboxes[stream] = nil
  if err then
    pcall(outbox.put_nowait, outbox, "server is shutting down")
  elseif name then
    tell_all(name .. " has left")
  end
  outbox:shutdown()
  pcall(lilac.wait_for, writer, 5)
end

-- Returns when the client has left, in whatever way. A cancellation passes every pcall.
local function talk(stream, name)
  tell_all(name .. " is here")
  pcall(function()
    for line in stream:lines() do tell_all(name .. ": " .. line) end
  end)
end

local function serve(stream)
  local outbox = lilac.Queue(1000)
  local writer <close> = lilac.create_task(deliver, stream, outbox)
  local name
  outboxes[stream] = outbox
  local _ <close> = setmetatable({}, { __close = function(_, err)
    leave(stream, name, writer, err)
  end })
  outbox:put("what is your name?")
  local ok, answer = pcall(stream.read, stream)
  name = ok and answer
  if name then talk(stream, name) end
end

local limit = tonumber(arg[2]) or 100
local port, options = tonumber(arg[1]) or 0, { max_connections = limit }
local server = lilac.net.serve("127.0.0.1", port, serve, options)
print(("chat on 127.0.0.1 port %d, up to %d clients"):format(server.port, limit))
local _, err = lilac.pcall(server.serve_forever, server)
print("chat is over: " .. err.message)
