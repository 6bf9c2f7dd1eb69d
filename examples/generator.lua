-- An async generator is a coroutine that awaits between its yields: coroutine.wrap is enough.
-- lilac.generator also closes it when the loop is left early, so that its <close> variables run.

local lilac = require "lilac"

local function countdown(from)
  return coroutine.wrap(function()
    for number = from, 1, -1 do
      lilac.sleep(0.01) -- parks the task, and is not seen by the loop below
      coroutine.yield(number)
    end
  end)
end

for number in countdown(3) do print(number) end

local function readings(sensor)
  local _ <close> = setmetatable({}, { __close = function()
    lilac.sleep(0.01)
    print(sensor .. " switched off")
  end })
  for value = 20, math.huge do
    lilac.sleep(0.01)
    coroutine.yield(value)
  end
end

for value in lilac.generator(readings, "thermometer") do
  print(value .. " degrees")
  if value == 22 then break end
end
print "end"
