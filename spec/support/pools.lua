-- Starts and ends so many pools, each with a thread that has something to do: for leaks.
--
--    make FLAVOUR=debug && valgrind --leak-check=full --errors-for-leak-kinds=definite \
--        --error-exitcode=99 build/debug/lilac spec/support/pools.lua 10000
local lilac = require "lilac"

local count = tonumber(arg and arg[1]) or 100

for i = 1, count do
  local pool <close> = lilac.ThreadPool(1)
  assert(pool:submit(function(x) return { x + 1 } end, i):await()[1] == i + 1)
end
print("started and ended: " .. count)
