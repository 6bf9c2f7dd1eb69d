-- gather that keeps going: with return_exceptions an error becomes a result, in its place.
-- Without it the first error is raised at once; with cancel_on_error the rest is cancelled first.

local lilac = require "lilac"

local function load(name, seconds)
  lilac.sleep(seconds)
  if name == "b" then error(name .. " is broken", 0) end
  return name .. " loaded"
end

local function loads()
  return {
    function() return load("a", 0.15) end,
    function() return load("b", 0.05) end,
    function() return load("c", 0.25) end,
  }
end

for i, result in ipairs(lilac.gather(loads(), { return_exceptions = true })) do
  print(i, result)
end

print(pcall(lilac.gather, loads(), { cancel_on_error = true }))

-- The errors of tasks are values of any kind; those of lilac are objects with a class.
local results = lilac.gather({
  function() return lilac.net.connect("127.0.0.1", 1) end,
  function() return lilac.timeout(0.05, lilac.sleep, 60) end,
}, { return_exceptions = true })
for _, err in ipairs(results) do print(err.name) end
