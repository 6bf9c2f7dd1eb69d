-- Graceful shutdown. SIGTERM or Ctrl-C cancels the main task, and its <close> variables run: the
-- workers finish the job at hand, then the script says goodbye. As nothing catches the cancellation
-- it dies by the signal: a shell shows 143 or 130. A second signal ends it at once.

local lilac = require "lilac"

io.stdout:setvbuf("line")

local stopping = lilac.Event()

local function work(name)
  local jobs = 0
  while not stopping:is_set() do
    lilac.sleep(0.02) -- a job
    jobs = jobs + 1
  end
  print(name .. ": stopped between two jobs: " .. tostring(jobs > 0))
end

local workers = {}
for i, name in ipairs { "ann", "bob" } do
  workers[i] = lilac.create_task(work, name)
end

-- Runs when the main task is left, in whatever way.
local _ <close> = setmetatable({}, { __close = function(_, err)
  print(err and err.message or "done")
  stopping:set()
  for _, worker in ipairs(workers) do worker:await() end
  print "bye"
end })

print "working; send SIGTERM or press Ctrl-C"
lilac.sleep(tonumber(arg[1]) or math.huge)
