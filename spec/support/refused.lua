-- refused(pattern, fn, …): fn(…) raises an error that reads so, most often about its arguments.

local assert = require "luassert"

return function(pattern, fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok, "no error was raised")
  assert.matches(pattern, err)
end
