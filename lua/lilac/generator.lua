-- for … in lilac.generator(fn, …) do … end: an async generator, which the loop closes when it is
-- left by break, return, an error or a cancellation, so that the generator's <close> variables
-- run there.

return function(fn, ...)
  if type(fn) ~= "function" then
    error(("bad argument #1 to 'generator' (function expected, got %s)"):format(type(fn)), 2)
  end
  local co = coroutine.create(fn)
  local arguments = table.pack(...)

  local function finish(ok, ...)
    if not ok then error((...), 0) end
    return ...
  end
  local function step()
    if coroutine.status(co) == "dead" then return nil end
    local given = arguments
    if given then
      arguments = nil
      return finish(coroutine.resume(co, table.unpack(given, 1, given.n)))
    end
    return finish(coroutine.resume(co))
  end
  local closer = setmetatable({}, { __name = "generator", __close = function()
    finish(coroutine.close(co))
  end })
  return step, nil, nil, closer
end
