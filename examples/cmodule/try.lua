-- Uses the C module of this directory: `make run`. The ticks go on while the pool computes: neither
-- of them holds the loop.

package.cpath = "./?.so;" .. package.cpath
local lilac = require "lilac"
local ticker = require "ticker"

local function count_to_three()
  local ticks, clock <close> = 0, ticker.new(0.01)
  while ticks < 3 do ticks = ticks + clock:wait() end
  return ticks >= 3
end

local text = ("lilac"):rep(100000)
local ticked, sum = lilac.gather(count_to_three, function() return ticker.checksum(text) end)
print("ticked: " .. tostring(ticked))
print(("checksum: %08x"):format(sum))

-- A wait in C is cancelled like any other.
local clock <close> = ticker.new(60)
print(pcall(lilac.timeout, 0.05, clock.wait, clock))
