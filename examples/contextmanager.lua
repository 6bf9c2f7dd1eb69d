-- A context manager: acquire, yield what the body needs, release. The scope's end resumes it behind
-- the yield; an error of the body is raised there, and goes on. Here: a transaction.

local lilac = require "lilac"

local transaction = lilac.contextmanager(function(name)
  lilac.sleep(0.01) -- both ends may await
  print(name .. ": begin")
  local log = {}
  local ok, err = pcall(coroutine.yield, log) -- a cancellation passes: that is for <close>
  lilac.sleep(0.01)
  if ok then
    print(name .. ": commit " .. table.concat(log, ", "))
  else
    print(name .. ": roll back " .. table.concat(log, ", "))
    error(err, 0)
  end
end)

do
  local _ <close>, log = transaction("first") -- the guard, then what was yielded
  log[#log + 1] = "add 3"
  log[#log + 1] = "add 4"
end

print(pcall(function()
  local _ <close>, log = transaction("second")
  log[#log + 1] = "add 5"
  error("out of paper", 0)
end))
