-- lilac.contextmanager(genfn) → factory. genfn acquires, calls coroutine.yield(values…) once,
-- releases. `local _ <close>, db = factory(args…)`: first the guard, then the values. When the
-- scope is left by an error or a cancellation, that is raised at the yield; it goes on
-- afterwards, as it cannot be suppressed: a scope in Lua has no way to swallow an error.

local lilac = require "lilac"
local errors, throw_into = lilac.errors, lilac.throw_into

-- Lets genfn go on after its yield; by the error of the scope, if that failed.
local function release(co, err, failed)
  local ok, problem = (failed and throw_into or coroutine.resume)(co, err)
  if coroutine.status(co) ~= "dead" then
    coroutine.close(co)
    error(errors.new("InvalidStateError", "contextmanager: the generator yielded twice"))
  end
  if not ok and not (failed and rawequal(problem, err)) then error(problem, 0) end
end

return function(genfn)
  if type(genfn) ~= "function" then
    error(("bad argument #1 to 'contextmanager' (function expected, got %s)")
      :format(type(genfn)), 2)
  end
  return function(...)
    local co = coroutine.create(genfn)
    local results = table.pack(coroutine.resume(co, ...))
    if not results[1] then error(results[2], 0) end
    if coroutine.status(co) == "dead" then
      error(errors.new("InvalidStateError", "contextmanager: the generator did not yield"))
    end
    local guard = setmetatable({}, { __name = "contextmanager", __close = function(_, err)
      release(co, err, err ~= nil)
    end })
    return guard, table.unpack(results, 2, results.n)
  end
end
