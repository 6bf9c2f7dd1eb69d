-- Runs a command of the shell beside the specs, for servers and whoever talks to them.
--
--    local background = require "spec.support.background"
--    local job <close> = background("exec build/lilac examples/chat.lua")
--    job:wait_for "port (%d+)"      -- the captures, as soon as the output matches
--    job:kill "TERM"
--    job:wait()                     -- → status; 128 + n when signal n ended it
--    job:output(), job:errors()
--
-- The process is that of the command's shell: `exec` makes it that of a program. Leaving the scope
-- kills it. It takes signals as one in the foreground does: what a shell runs in the background has
-- SIGINT and SIGQUIT ignored.

local lilac = require "lilac"

local PATIENCE = 30 -- seconds
local PAUSE = 0.01

local Job = {}
Job.__index = Job

local function read(path)
  local file = io.open(path)
  local text = file and file:read "a"
  if file then file:close() end
  return text or ""
end

-- Asks again and again until a function gives something.
local function poll(job, what, fn)
  local deadline = lilac.time() + PATIENCE
  repeat
    local results = table.pack(fn())
    if results[1] then return table.unpack(results, 1, results.n) end
    lilac.sleep(PAUSE)
  until lilac.time() > deadline
  local text = ("waited %d s for %s of: %s\n%s%s"):format(PATIENCE, what, job.command,
    job:output(), job:errors())
  job:__close()
  error(text, 0)
end

-- The number in a file that the shell writes; nil before it has.
local function number_in(path)
  return tonumber(read(path):match "(%d+)\n")
end

function Job:output() return read(self.base .. ".out") end

function Job:errors() return read(self.base .. ".err") end

function Job:wait_for(pattern)
  return poll(self, ("'%s' in the output"):format(pattern), function()
    return self:output():match(pattern)
  end)
end

function Job:wait_for_errors(pattern)
  return poll(self, ("'%s' in the errors"):format(pattern), function()
    return self:errors():match(pattern)
  end)
end

function Job:kill(signal)
  os.execute(("kill -%s %d 2>/dev/null"):format(signal, self.pid))
end

function Job:wait()
  return poll(self, "the end", function() return number_in(self.base .. ".status") end)
end

function Job:__close()
  if self.pid and not number_in(self.base .. ".status") then self:kill "KILL" end
  os.execute(("rm -f %s %s.*"):format(self.base, self.base))
end

return function(command)
  local base = os.tmpname()
  local job = setmetatable({ command = command, base = base }, Job)
  os.execute(([[( env --default-signal=INT,QUIT sh -c '%s' >%s.out 2>%s.err & echo $! >%s.pid
    wait $!; echo $? >%s.status ) </dev/null >/dev/null 2>&1 &]]):format(command, base, base, base,
    base))
  job.pid = poll(job, "the process", function() return number_in(base .. ".pid") end)
  return job
end
