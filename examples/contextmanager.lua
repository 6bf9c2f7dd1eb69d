-- A context manager: acquire, yield what the body needs, release. The scope's end resumes it behind
-- the yield; an error of the body is raised there, and goes on. Here: a transaction.

local lilac = require "lilac"

local transaction = lilac.contextmanager(function(name)
  print(name .. ": begin")
  lilac.sleep(0.01) -- both ends may await
  local log = {}
  local ok, err = pcall(coroutine.yield, log)
  lilac.sleep(0.01)
  if not ok then
    print(name .. ": roll back " .. #log .. " steps")
    error(err, 0)
  end
  print(name .. ": commit " .. table.concat(log, ", "))
end)

do
  local _ <close>, log = transaction("first")
  log[#log + 1] = "add 3"
  log[#log + 1] = "add 4"
end

print(pcall(function()
  local _ <close>, log = transaction("second")
  log[#log + 1] = "add 5"
  error("out of paper", 0)
end))
