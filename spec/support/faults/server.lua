-- A server for the specs of faults: echoes lines. It prints its port, then a line for each error
-- that its handlers meet. A line "collect" is answered when the garbage is gone, "flood" with more
-- than any socket holds.

local lilac = require "lilac"

io.stdout:setvbuf "line"

local FLOOD = ("x"):rep(16 << 20)

local function handle(stream)
  for line in stream:lines "L" do
    if line == "flood\n" then
      lilac.timeout(0.2, stream.write, stream, FLOOD)
    elseif line == "collect\n" then
      collectgarbage()
      collectgarbage()
    end
    stream:write(line)
  end
end

lilac.set_exception_handler(function(context)
  local err = context.exception
  print(lilac.errors.is(err, "Error") and (err.code or err.name) or err)
end)

local server = lilac.net.serve("127.0.0.1", 0, handle, { backlog = 4096 })
print("port", server.port)
server:serve_forever()
