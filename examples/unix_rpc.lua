-- Remote procedure calls over a Unix socket, many at once over one connection. A request is a line
-- "number name argument", its answer "number ok|error text", as soon as it is ready.

local lilac = require "lilac"

local procedures = {}

function procedures.upper(text) return text:upper() end

function procedures.sleep(seconds)
  lilac.sleep(tonumber(seconds) or error("number expected, got " .. seconds, 0))
  return "slept " .. seconds .. " s"
end

local function answer(stream, number, name, argument)
  local procedure = procedures[name] or function() error("no procedure " .. name, 0) end
  local ok, result = pcall(procedure, argument)
  stream:write(number, ok and " ok " or " error ", result, "\n")
end

-- Every call runs in a task of its own. When the caller hangs up, what is left is cancelled.
local function serve(stream)
  local calls <close> = lilac.TaskGroup()
  for line in stream:lines() do
    calls:create_task(answer, stream, line:match "^(%d+) (%S+) ?(.*)$")
  end
  calls:cancel()
end

local Client = {}
Client.__index = Client

function Client.connect(path)
  local self = setmetatable({ stream = lilac.net.connect_unix(path), calls = {} }, Client)
  self.reader = lilac.create_task(function()
    for line in self.stream:lines() do
      local number, status, text = line:match "^(%d+) (%S+) (.*)$"
      self.calls[tonumber(number)]:set_result(status, text)
    end
  end)
  return self
end

-- Waits for the answer to this call alone.
function Client:call(name, argument)
  local number, future = #self.calls + 1, lilac.Future()
  self.calls[number] = future
  self.stream:write(number, " ", name, " ", argument, "\n")
  return future:await()
end

function Client:__close() self.reader:cancel() self.stream:close() end

local name = "@lilac-rpc-" .. tostring({}):match "0x%x+" -- abstract: no file to clean up
local server <close> = lilac.net.serve_unix(name, serve, { grace = 1 })
local client <close> = Client.connect(server.path)
local group <close> = lilac.TaskGroup()
for _, call in ipairs { "sleep 0.1", "upper lilac", "sleep well", "wake up" } do
  group:create_task(function() print(call, client:call(call:match "(%S+) (.*)")) end)
end
