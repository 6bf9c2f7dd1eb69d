-- finalise(fn): has the collector call `fn` at the next allocation, which may be in the middle of
-- what a C function does. For scripts of their own: it leaves the collector in generational mode,
-- where each of its steps is a whole cycle.

return function(fn)
  collectgarbage "generational"
  collectgarbage "stop"
  setmetatable({}, { __gc = fn })
  collectgarbage "restart"
end
