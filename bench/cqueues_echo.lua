-- The echo server in cqueues, for echo/ and tls/: serves over a listener, and prints where it is.
-- `secure(connection)`, if given, puts TLS into a connection; false: that has failed.
local cqueues = require "cqueues"

return function(server, secure)
  local loop = cqueues.new()

  local function echo(connection)
    connection:setmode("bn", "bn")
    if secure and not secure(connection) then return connection:close() end
    for data in function() return connection:read(-65536) end do
      connection:write(data)
    end
    connection:close()
  end

  loop:wrap(function()
    for connection in server:clients() do
      loop:wrap(echo, connection)
    end
  end)
  assert(server:listen())
  local _, path, port = server:localname()
  print(port or path)
  io.stdout:flush()
  assert(loop:loop())
end
