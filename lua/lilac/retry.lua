-- lilac.retry{attempts=3, delay=1, backoff=2, jitter=true, max_delay=60, on=, timeout=} →
-- decorator. The decorated function is called again when it fails: after `delay` seconds, then
-- `backoff` times as long each time, at most `max_delay`, times 0.5 … 1.5 with jitter. `on` is
-- an error class, an array of classes, or predicate(err) → boolean; `timeout` is per try. Never
-- sleeps past an enclosing deadline and never retries a cancellation.

local lilac = require "lilac"
local is_error = lilac.errors.is

local defaults = { attempts = 3, delay = 1, backoff = 2, jitter = true, max_delay = 60 }
local types = { attempts = "number", delay = "number", backoff = "number", jitter = "boolean",
  max_delay = "number", timeout = "number" }

-- `depth`: how many functions of ours are between here and the caller of retry.
local function fail(depth, message, ...)
  error(("bad argument #1 to 'retry' (" .. message .. ")"):format(...), depth + 2)
end

-- on: class, array of classes or predicate → predicate
local function predicate_of(on)
  if on == nil then return function() return true end end
  if type(on) == "function" then return on end
  local classes = type(on) == "table" and on or { on }
  for _, class in ipairs(classes) do
    if not pcall(is_error, nil, class) then
      fail(3, "option 'on': a predicate or names of error classes expected, got %s",
        tostring(class))
    end
  end
  return function(err)
    for _, class in ipairs(classes) do
      if is_error(err, class) then return true end
    end
    return false
  end
end

local function check(options)
  if type(options) ~= "table" then fail(2, "table expected, got %s", type(options)) end
  local checked = {}
  for key, value in pairs(options) do
    if key ~= "on" and not types[key] then
      fail(2, "unknown option '%s'; known: attempts, delay, backoff, jitter, max_delay, on, "
        .. "timeout", tostring(key))
    end
    if key ~= "on" and type(value) ~= types[key] then
      fail(2, "option '%s': %s expected, got %s", key, types[key], type(value))
    end
    if type(value) == "number" and (value < 0 or value ~= value) then
      fail(2, "option '%s': not negative expected, got %s", key, tostring(value))
    end
    checked[key] = value
  end
  local attempts = checked.attempts
  if attempts and attempts ~= math.huge and (attempts < 1 or attempts % 1 ~= 0) then
    fail(2, "option 'attempts': a whole number from 1 on expected, got %s", tostring(attempts))
  end
  for key, value in pairs(defaults) do
    if checked[key] == nil then checked[key] = value end
  end
  checked.on = predicate_of(checked.on)
  return checked
end

local function pause(options, failures)
  local seconds = options.delay * options.backoff ^ (failures - 1)
  if seconds ~= seconds then seconds = 0 end -- 0 · ∞, after a thousand failures
  seconds = math.min(seconds, options.max_delay)
  if options.jitter then seconds = seconds * (0.5 + math.random()) end
  return seconds
end

return function(options, extra)
  options = check(options or {})
  if extra ~= nil then
    error("bad argument #2 to 'retry' (nothing expected: the function goes to the decorator that "
      .. "retry(options) returns)", 2)
  end
  return function(fn)
    if type(fn) ~= "function" and not (getmetatable(fn) or {}).__call then
      error(("bad argument #1 to the decorator of 'retry' (function expected, got %s)")
        :format(type(fn)), 2)
    end
    local function try(...)
      if options.timeout then return lilac.timeout(options.timeout, fn, ...) end
      return fn(...)
    end
    return function(...)
      for failures = 1, options.attempts do
        local outcome = table.pack(pcall(try, ...))
        if outcome[1] then return table.unpack(outcome, 2, outcome.n) end
        local err = outcome[2]
        if failures == options.attempts or not options.on(err) then error(err, 0) end
        local seconds = pause(options, failures)
        local deadline = lilac.current_deadline()
        if deadline and lilac.time() + seconds >= deadline then error(err, 0) end
        lilac.sleep(seconds)
      end
    end
  end
end
