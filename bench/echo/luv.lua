local uv = require "luv"

local path = arg[1]

local function new()
  if path then return uv.new_pipe(false) end
  return uv.new_tcp()
end

local server = new()
assert(server:bind(path or "127.0.0.1", not path and 0 or nil))
server:listen(128, function()
  local connection = new()
  server:accept(connection)
  connection:read_start(function(_, data)
    if data then
      connection:write(data)
    else
      connection:close()
    end
  end)
end)
print(path or server:getsockname().port)
io.stdout:flush()
uv.run()
