-- A filter: reads lines from stdin, looks each one up at a server, and writes the answers to stdout
-- in the order of the lines, though eight are asked for at a time. Memory stays small however long
-- the input is: when nobody reads the answers, nobody reads more lines either.
--
--    printf 'lemon\npear\n' | lilac examples/filter.lua

local lilac = require "lilac"
local stdin, stdout = lilac.stdio.stdin, lilac.stdio.stdout

-- Stands for a server that takes its time.
local server <close> = lilac.net.serve("127.0.0.1", 0, function(stream)
  local name = stream:read()
  lilac.sleep(0.01)
  stream:write(name:upper(), " has ", #name, " letters\n")
end)

local function look_up(name)
  local stream <close> = lilac.net.connect("127.0.0.1", server.port, { timeout = 5 })
  stream:write(name, "\n")
  return stream:read()
end

local answers = lilac.Queue(8) -- of tasks, in the order of the lines
local lookups <close> = lilac.TaskGroup() -- so that they end before the server does

local writer <close> = lilac.create_task(function()
  for answer in answers:iter() do stdout:write(answer:await(), "\n") end
end)

for line in stdin:lines() do answers:put(lookups:create_task(look_up, line)) end
answers:shutdown()
writer:await()
