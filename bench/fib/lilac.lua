-- So many calls of fib(32) in two threads: wall time.
local lilac = require "lilac"

local function fib(n)
  if n < 2 then return n end
  return fib(n - 1) + fib(n - 2)
end

local list = {}
for i = 1, tonumber(arg[1]) do list[i] = 32 end
local start = lilac.time()
do
  local pool <close> = lilac.ThreadPool(2)
  pool:map(fib, list)
end
print("ms", (lilac.time() - start) * 1e3)
