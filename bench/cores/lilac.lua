-- A server with so many workers; client.c drives and measures it. It answers each line: with the
-- line, or as a protocol of requests would.
local lilac = require "lilac"

local workers, kind = tonumber(arg[1]), arg[2]

local function echo(stream)
  for line in stream:lines "L" do stream:write(line) end
end

local function answer(stream)
  for line in stream:lines() do
    local method, name = line:match "^(%u+) /(%w+)"
    if method == "GET" then
      stream:write("200 ", tostring(#name), " ", name:upper(), "\n")
    else
      stream:write "400 0\n"
    end
  end
end

local handler = kind == "echo" and echo or answer
local server = lilac.net.serve("127.0.0.1", 0, handler, { workers = workers })
print(server.port)
io.stdout:flush()
server:serve_forever()
