---@meta
-- What belongs to the whole program: entry, callbacks, context variables, composing, errors that
-- nobody took.

---@class lilac
---@field _VERSION string
local lilac = {}

---Runs `fn(…)` as the main task and cleans up after it: cancels the other tasks, waits for them,
---closes what is open. The entry point in a Lua host that is not the lilac interpreter, as
---`asyncio.run`. Inside a task it simply calls the function.
---
---Raises: the error of the function.
---@async
---@param fn fun(...): ...
---@param ... any
---@return any ...
function lilac.run(fn, ...) end

---Calls a function and catches every error, the running task's own cancellation too. Who drops
---that should call `task:uncancel()`. The global `pcall` lets it pass.
---@async
---@param fn fun(...): ...
---@param ... any
---@return boolean ok
---@return any ... results, or the error
function lilac.pcall(fn, ...) end

---------------------------------------------------------------------------------------------------
-- Callbacks

---A callback that was scheduled. Leaving its `<close>` scope cancels it.
---@class lilac.Handle
local Handle = {}

---Has `fn(…)` called at the next turn of the loop, outside of any task: it must not await. It
---sees the context variables as they are now. An error in it is reported, and makes the exit
---status 1.
---@param fn fun(...)
---@param ... any
---@return lilac.Handle
function lilac.call_soon(fn, ...) end

---The same after some time.
---@param seconds number
---@param fn fun(...)
---@param ... any
---@return lilac.Handle
function lilac.call_later(seconds, fn, ...) end

---The same at a time of the loop.
---@param when number as `lilac.time()` tells it
---@param fn fun(...)
---@param ... any
---@return lilac.Handle
function lilac.call_at(when, fn, ...) end

---Takes the call back.
---@return boolean was_pending false when it was called or cancelled before
function Handle:cancel() end

---Tells whether it was cancelled.
---@return boolean
function Handle:cancelled() end

---Returns the time of the loop it is due at; nil for `call_soon`.
---@return number?
function Handle:when() end

---------------------------------------------------------------------------------------------------
-- Context variables

---A variable with a value of its own in each task. A new task, and a callback, begin with the
---values of who created them, as they were then.
---@class lilac.ContextVar
local ContextVar = {}

---Creates a variable.
---@param name string for `tostring`
---@param default? any
---@return lilac.ContextVar
function lilac.ContextVar(name, default) end

---Returns the value here, or the default, or nil, where Python raises LookupError.
---@return any
function ContextVar:get() end

---Sets the value in the running task.
---@param value any but nil
---@return lilac.Token token for `reset`
function ContextVar:set(value) end

---Goes back to how it was before that `set`.
---
---Raises: `InvalidStateError` for a token of another variable or task, or one that was used.
---@param token lilac.Token
function ContextVar:reset(token) end

---@class lilac.Token

---------------------------------------------------------------------------------------------------
-- Composing

---Makes a resource of a function that acquires, calls `coroutine.yield(values…)` once, and
---releases: `local _ <close>, values… = factory(…)`. Both ends may await. The error or
---cancellation of the body is raised at the yield, as in Python; it goes on afterwards unless
---another replaces it: unlike there it cannot be suppressed.
---
---Raises: in the factory what acquiring raises, or `InvalidStateError` when there was no yield;
---at the end of the scope what releasing raises, or `InvalidStateError` for a second yield.
---@param genfn fun(...)
---@return fun(...): ... factory returns the guard, then the values
function lilac.contextmanager(genfn) end

---Iterates over what a function yields, `for x in lilac.generator(fn, …) do`, and closes it when
---the loop is left in any way, so that its `<close>` variables run there. Both may await. In
---asyncio a generator that is left by `break` is closed some time later.
---@async
---@param fn fun(...)
---@param ... any
---@return fun(): ...
function lilac.generator(fn, ...) end

---Resumes a coroutine by raising an error at the `coroutine.yield` where it waits; as
---`coroutine.resume` else. As `throw` of a Python generator.
---
---Raises: an argument error when it does not wait in `coroutine.yield`.
---@async
---@param co thread
---@param err any
---@return boolean ok
---@return any ...
function lilac.throw_into(co, err) end

---------------------------------------------------------------------------------------------------
-- What happens to errors that nobody takes

---@class lilac.ExceptionContext
---@field message string what failed
---@field exception any the error
---@field traceback? string|false default that of the task, or else of the error; false: none
---@field task lilac.Task?

---Has `fn(context)` called in place of the report on stderr, for tasks, callbacks and handlers
---whose error nobody takes. The exit status is the same.
---@param fn? fun(context: lilac.ExceptionContext) nil: the report again
function lilac.set_exception_handler(fn) end

---Hands an error to that handler, or prints it: for code that calls others and must go on.
---@param context lilac.ExceptionContext
function lilac.call_exception_handler(context) end

---Prints all tasks that have not ended on stderr: what each waits for, where, and its age, which is
---never too low, and too high by an eighth at most, and by as long as its creator held the loop. A
---task stands under the one that created it, or at the root when that has ended. So does SIGQUIT,
---Ctrl-\ at a terminal. (asyncio has no such function.)
function lilac.dump() end

---Switches the debug mode of `--debug` on or off.
---@param on boolean
function lilac.set_debug(on) end

return lilac
