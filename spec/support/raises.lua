-- raises(class, fn, …) → the error: fn(…) raises an error object of that class.

local lilac = require "lilac"
local assert = require "luassert"

return function(class, fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok, "no error was raised")
  assert.is_true(lilac.errors.is(err, class), tostring(err))
  return err
end
