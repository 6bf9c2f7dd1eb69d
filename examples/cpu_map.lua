-- Work for all cores, with progress: pool:map runs a function for each item in a thread; a channel
-- brings word of every step, while the loop stays free.

local lilac = require "lilac"

local progress = lilac.Channel()

-- Runs in a thread. What it needs are its upvalues: they travel with it.
local function count_primes(range)
  local count = 0
  for n = range.first, range.last do
    local is_prime = n > 1
    for divisor = 2, math.floor(n ^ 0.5) do
      if n % divisor == 0 then
        is_prime = false
        break
      end
    end
    if is_prime then count = count + 1 end
  end
  progress:put(range.last - range.first + 1)
  return count
end

local ranges = {}
for first = 1, 200000, 10000 do
  ranges[#ranges + 1] = { first = first, last = first + 9999 }
end

local seen = 0
local watcher = lilac.create_task(function()
  for step in progress:iter() do seen = seen + step end
end)

local total = 0
do
  local pool <close> = lilac.ThreadPool(lilac.cpu_count())
  for _, count in ipairs(pool:map(count_primes, ranges)) do total = total + count end
end
progress:close()
watcher:await()
print(("%d of %d numbers seen"):format(seen, 200000))
print("primes below 200000: " .. total)
