---@meta
-- Deadlines, and trying again.
--
-- A deadline belongs to a scope and cancels what runs in it. That cancellation passes every
-- `pcall` inside; outside the scope it is a `TimeoutError`. It is known by identity: of several
-- scopes and cancellations at once each takes its own, and the outermost comes first. A
-- cancellation of the task itself comes before all of them.

---@class lilac
local lilac = {}

---A scope with a deadline.
---@class lilac.Timeout
local Timeout = {}

---Limits a scope, `local t <close> = lilac.timeout(1)`, or a call, `lilac.timeout(1, fn, …)`,
---which runs in the calling task and returns the results. The error that clean-up raises is not
---replaced.
---
---With `interrupt` it also stops code that computes without awaiting, within about 20 ms, at a
---Lua instruction; also inside coroutines and callbacks of C functions. asyncio cannot do that.
---
---Raises: `TimeoutError`, whose `cause` is the cancellation; `InvalidStateError` in a callback.
---@async
---@overload fun(seconds: number?, fn: fun(...): ..., ...): ...
---@overload fun(seconds: number?, options: { interrupt?: boolean }, fn: fun(...): ..., ...): ...
---@param seconds number? nil: no limit; 0 or less: the first await that has to wait
---@param options? { interrupt?: boolean }
---@return lilac.Timeout
function lilac.timeout(seconds, options) end

---The same with a time of the loop.
---
---Raises: `TimeoutError`.
---@async
---@overload fun(when: number?, fn: fun(...): ..., ...): ...
---@param when number? as `lilac.time()` tells it; nil: never
---@param options? { interrupt?: boolean }
---@return lilac.Timeout
function lilac.timeout_at(when, options) end

---Returns the time of the loop when it expires, or would have; nil: never.
---@return number?
function Timeout:when() end

---Sets another time. One that has passed is fine: it expires at once.
---
---Raises: `InvalidStateError` when it has expired or was left.
---@param when number? as `lilac.time()` tells it; nil: never
function Timeout:reschedule(when) end

---Tells whether the deadline has passed while the scope was entered.
---@return boolean
function Timeout:expired() end

---Calls a function in the calling task, at most for so long. As trio's `move_on_after`, but a
---function: a scope in Lua cannot swallow an error.
---
---Raises: what the function raises, but for the cancellation by this deadline.
---@async
---@param seconds number? nil: no limit
---@param fn fun(...): ...
---@param ... any
---@return boolean finished false: the time was over
---@return any ... the results, when it finished
function lilac.move_on_after(seconds, fn, ...) end

---Awaits at most for so long. A function runs in the calling task. When the time is over the
---awaitable is cancelled, and has ended before this returns or raises. A result that came in
---time is never lost, nor is a cancellation of the caller.
---
---As asyncio 3.12: what swallows its cancellation and returns, gives its results; with a limit
---of 0 a function is started, and cancelled at its first await that waits, where 3.11 does not
---start it.
---
---Raises: `TimeoutError`; the error of the awaitable, that of clean-up after the timeout too.
---@async
---@param aw lilac.Awaitable
---@param seconds? number nil: no limit
---@return any ...
function lilac.wait_for(aw, seconds) end

---Returns the earliest deadline that the running task is under, or nil.
---@return number? when as `lilac.time()` tells it
function lilac.current_deadline() end

---@class lilac.RetryOptions
---@field attempts? number how many tries at most; from 1, `math.huge` for no limit; default 3
---@field delay? number seconds before the second try; default 1
---@field backoff? number factor from one delay to the next; default 2
---@field jitter? boolean multiplies each delay by a random 0.5 … 1.5; default true
---@field max_delay? number seconds, before jitter; default 60
---@field on? string|string[]|fun(err: any): boolean error classes, or a predicate; default: all
---@field timeout? number seconds for each try; a `TimeoutError` counts as a failure

---Makes a decorator: `local fetch = lilac.retry{…}(function(url) … end)`. The decorated function
---calls again when it fails, and raises the last error when the tries are used up. It never
---retries the calling task's cancellation, nor the timeout of a scope around it, and raises the
---error at once when the next delay would not end before an enclosing deadline.
---@param options? lilac.RetryOptions
---@return fun(fn: fun(...): ...): fun(...): ...
function lilac.retry(options) end

return lilac
