-- A tour of lilac: tasks, gather, a timeout, a cancellation, and workers on a queue.
-- The script is the main task. Any function may await: there is no async, no await.

local lilac = require "lilac"

local function brew(what, seconds)
  lilac.sleep(seconds) -- parks this task; the others run
  print("  " .. what .. " is ready")
  return what
end

print "tasks: two things at once"
local tea = lilac.create_task(brew, "tea", 0.2)
local coffee = lilac.create_task(brew, "coffee", 0.1)
print("  served: " .. tea:await() .. " and " .. coffee:await())

print "gather: the results come in the order of the arguments"
local first, second = lilac.gather(
  function() return brew("soup", 0.2) end,
  function() return brew("salad", 0.1) end)
print("  served: " .. first .. " and " .. second)

print "timeout: what takes too long is cancelled"
local ok, err = pcall(function()
  local _ <close> = lilac.timeout(0.1)
  brew("stew", 60)
end)
print("  stew: " .. (ok and "served" or err.name))

print "cancel: clean-up runs, and may await too"
local guest = lilac.create_task(function()
  local _ <close> = setmetatable({}, { __close = function() brew("the bill", 0.1) end })
  lilac.sleep(60)
end)
lilac.sleep(0.1)
guest:cancel("time to go")
print("  guest left: " .. tostring(select(2, pcall(guest.await, guest)).name))

print "queue: three workers share the orders"
local orders, done = lilac.Queue(2), 0 -- holds two; put waits while it is full
do
  local team <close> = lilac.TaskGroup() -- the scope ends when all its tasks have
  for _ = 1, 3 do
    team:create_task(function()
      for order in orders:iter() do
        lilac.sleep(order / 100)
        done = done + 1
      end
    end)
  end
  for order = 1, 10 do orders:put(order) end
  orders:shutdown() -- the workers end when it is empty
end
print("  orders done: " .. done)
