local uv = require "luv"

local server = uv.new_tcp()
server:bind("127.0.0.1", 0)
server:listen(128, function()
  local connection = uv.new_tcp()
  server:accept(connection)
  connection:read_start(function(_, data)
    if data then
      connection:write(data)
    else
      connection:close()
    end
  end)
end)
print(server:getsockname().port)
io.stdout:flush()
uv.run()
