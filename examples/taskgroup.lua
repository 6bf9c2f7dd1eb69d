-- A TaskGroup is a scope for tasks: leaving it waits for all of them, none outlives it. When one
-- fails, the others are cancelled, then the error leaves the scope.

local lilac = require "lilac"

local function step(name, seconds, fails)
  local _ <close> = setmetatable({}, { __close = function(_, err)
    if err and lilac.errors.is(err, "CancelledError") then print(name .. " was cancelled") end
  end })
  lilac.sleep(seconds)
  if fails then error(name .. " failed", 0) end
  print(name .. " is done")
end

do
  local group <close> = lilac.TaskGroup()
  group:create_task(step, "copy", 0.2)
  group:create_task(step, "check", 0.1)
  print "both are under way"
end
print "both have ended"

print(pcall(function()
  local group <close> = lilac.TaskGroup()
  group:create_task(step, "copy", 0.1)
  group:create_task(step, "check", 0.2, true)
  group:create_task(step, "report", 60)
end))

-- start() waits until the task says that it is ready, and gives what it says.
lilac.TaskGroup(function(group)
  local port = group:start(function(started)
    local server <close> = lilac.net.serve("127.0.0.1", 0, function() end)
    started(server.port)
    server:serve_forever()
  end)
  print("the server is up: " .. tostring(port > 0))
  group:cancel() -- quietly
end)
