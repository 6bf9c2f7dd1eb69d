-- Errors are raised. Those of lilac are objects: they have a class (with parents, as in Python), a
-- message, and what else belongs to them. Any other Lua value may be raised as always.

local lilac = require "lilac"
local errors = lilac.errors

local listener = lilac.net.listen("127.0.0.1", 0)
local free_port = listener.port
listener:close()

local _, refused = pcall(lilac.net.connect, "127.0.0.1", free_port)
print(refused.name, refused.code, refused.syscall)
print("an OSError: " .. tostring(errors.is(refused, "OSError")))
print("a TimeoutError: " .. tostring(errors.is(refused, "TimeoutError")))
print("a string is none: " .. tostring(errors.is("oops", "OSError")))

-- The error of a task is raised where it is awaited.
local task = lilac.create_task(function() error({ code = 42 }) end)
local _, err = pcall(task.await, task)
print("code " .. err.code)

-- A group raises the one error of its tasks as it is, several as an ExceptionGroup.
local _, group = pcall(lilac.TaskGroup, function(tg)
  for _, what in ipairs { "disk", "tape" } do
    tg:create_task(function()
      local _ <close> = setmetatable({}, { __close = function() error(what .. " full", 0) end })
      lilac.sleep(0.01)
    end)
  end
end)
print(group.name)
table.sort(group.errors)
for i, each in ipairs(group.errors) do print(i, each) end

-- Your own, of a class that others know how to handle:
print(pcall(error, errors.new("ConnectionResetError", "the modem hung up")))
