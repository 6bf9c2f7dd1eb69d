-- local _ <close> = on_close(fn): calls fn(err) when the scope is left, with the error that leaves
-- it.

return function(fn)
  return setmetatable({}, { __close = function(_, err) fn(err) end })
end
