-- A context manager: acquire, yield what the body needs, release. The body's end resumes it behind
-- the yield. An error of the body is raised there, so what must run in any case goes in <close>.

local lilac = require "lilac"

local pool = { "red", "green" }
local free = lilac.Semaphore(#pool)

local borrow = lilac.contextmanager(function(who)
  local _ <close> = free:acquire() -- waits for a brush
  local brush = table.remove(pool)
  local _ <close> = setmetatable({}, { __close = function()
    lilac.sleep(0.01) -- rinses it: both ends may await
    table.insert(pool, brush)
  end })
  coroutine.yield(brush, who .. " paints with " .. brush)
end)

do
  local _ <close>, brush, text = borrow("ann") -- the guard first, then what was yielded
  print(text)
  print("in the pool: " .. #pool .. " without " .. brush)
end
print("in the pool: " .. #pool)

print(pcall(function()
  local _ <close>, brush = borrow("bob")
  error("the " .. brush .. " brush is broken", 0)
end))
print("in the pool: " .. #pool)
