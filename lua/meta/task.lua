---@meta
-- Tasks and futures, sleeping, and waiting for several at once.
--
-- An awaitable is a function, a Task or a Future. A function is run in a new task unless said
-- otherwise: where asyncio takes a coroutine object, lilac takes the function.

---@class lilac
local lilac = {}

---@alias lilac.Awaitable lilac.Future | fun(): ...

---------------------------------------------------------------------------------------------------
-- Future

---A result to come, that somebody else provides.
---@class lilac.Future
local Future = {}

---Creates a pending future.
---@return lilac.Future
function lilac.Future() end

---Waits for the end; returns all results or raises the error, which counts as taken then. May be
---called by several tasks, and again.
---
---Cancelling a task that waits here cancels the future as well; a Task is waited for until it
---has ended, and the caller then raises its own `CancelledError`, whatever became of that task:
---an error of its clean-up is the `cause`. asyncio loses the cancellation there when the task
---awaited swallows it.
---
---Raises: the error of the future; `CancelledError` about the future when it was cancelled,
---which `pcall` catches; `DeadlockError` when the task awaited waits for this one and none is
---under a timeout.
---@async
---@return any ...
function Future:await() end

---Tells whether it has ended: with results, an error, or cancelled.
---@return boolean
function Future:done() end

---Tells whether it was cancelled.
---@return boolean
function Future:cancelled() end

---Tells whether it ended with an error. A cancelled one did not. (asyncio has no such method.)
---@return boolean
function Future:failed() end

---Returns all results, or raises the error, of an ended future.
---
---Raises: its error; `InvalidStateError` when it has not ended.
---@return any ...
function Future:result() end

---Returns the error of an ended future, nil after success. The error counts as taken then.
---
---Raises: `CancelledError` when it was cancelled; `InvalidStateError` when it has not ended.
---@return any error
function Future:exception() end

---Cancels it. A plain future has ended then. A task gets a `CancelledError` at the await where
---it stands or that comes next; it may clean up, and it need not end. A task that has not
---started never runs.
---
---A cancellation that comes together with a result lets the result through and is raised at the
---next await; asyncio drops the result. It comes too late for a task that returns before that next
---await; but one that has cancelled itself ends as cancelled then, as in asyncio.
---
---Tasks that the same line cancels, without a message, share one `CancelledError`, in their
---clean-up and in the results of `gather`. Who awaits one of them, or catches it with
---`lilac.pcall`, gets one of its own. A field that one of them sets in its clean-up is its own; to
---others the shared error gives none, and they cannot set any.
---@param message? any shown in the error, after who asked and where
---@return boolean asked false when it has ended already
function Future:cancel(message) end

---Has `fn(future)` called soon after the end, or soon when it has ended. In a callback: it must
---not await. Functions are called in the order they were added.
---@param fn fun(future: lilac.Future)
function Future:add_done_callback(fn) end

---Takes a function back, each time it was added and was not yet due.
---@param fn fun(future: lilac.Future)
---@return integer count how many times that was
function Future:remove_done_callback(fn) end

---Ends a plain future with results, any number of them.
---
---Raises: `InvalidStateError` when it has ended.
---@param ... any
function Future:set_result(...) end

---Ends a plain future with an error, of any type but nil. Unlike that of a task, an error that
---nobody takes is not reported.
---
---Raises: `InvalidStateError` when it has ended.
---@param err any
function Future:set_exception(err) end

---Tells whether a value is a Task or a Future.
---@param value any
---@return boolean
function lilac.is_future(value) end

---------------------------------------------------------------------------------------------------
-- Task

---A function that runs side by side with others. Its methods are those of a Future, but for
---`set_result` and `set_exception`.
---
---`local task <close> = …`: leaving the scope cancels it and waits for its end.
---
---It runs until it ends, whether somebody holds this object or not; in asyncio it must be held.
---When it fails and nobody takes the error within a second (under `--debug`: at once), that is
---reported, and the exit status of the program becomes 1 unless somebody takes it later.
---@class lilac.Task: lilac.Future
---@field name string "Task-7" until it is set
local Task = {}

---Schedules `fn(…)` in a new task; it starts at the next turn of the loop, in the order of
---creation. It inherits the context variables of its creator.
---@async
---@param fn fun(...): ...
---@param ... any
---@return lilac.Task
function lilac.create_task(fn, ...) end

---Returns how often the task was cancelled, less the calls of `uncancel`.
---@return integer
function Task:cancelling() end

---Takes one request to cancel back from the count; when none is left, also the cancellation
---itself, if the task has not met it. For who has caught it with `lilac.pcall` and goes on.
---asyncio 3.11 does not drop one that is not met; 3.13 does.
---@return integer cancelling
function Task:uncancel() end

---Returns where the task stands; of a failed one, where it failed; else nil.
---@return string?
function Task:traceback() end

---Returns the running task; nil in a callback.
---@return lilac.Task?
function lilac.current_task() end

---Returns the tasks that have not ended, in no order.
---@return lilac.Task[]
function lilac.all_tasks() end

---------------------------------------------------------------------------------------------------
-- Time

---Waits. A sleep of 0 or less lets all others that are ready have their turn.
---@async
---@generic T
---@param seconds number may be `math.huge`
---@param result? T
---@return T result
function lilac.sleep(seconds, result) end

---Waits until a time of the loop; not at all when that has passed. (asyncio has no such
---function.)
---@async
---@generic T
---@param when number as `lilac.time()` tells it
---@param result? T
---@return T result
function lilac.sleep_until(when, result) end

---Reads the clock of the loop: seconds since an arbitrary moment, never going back. As
---`loop.time()`.
---@return number seconds
function lilac.time() end

---------------------------------------------------------------------------------------------------
-- Several at once

---@class lilac.GatherOptions
---@field return_exceptions? boolean default false
---@field cancel_on_error? boolean default false

---@class lilac.WaitOptions
---@field timeout? number seconds; default: no limit
---@field return_when? "ALL_COMPLETED"|"FIRST_COMPLETED"|"FIRST_EXCEPTION" default "ALL_COMPLETED"

---Runs awaitables side by side and returns the first result of each, in the order of the
---arguments. The same function given twice runs twice; the same task is awaited once.
---
---With a table, and options, it returns a table with `n`: results may be nil.
---
---- `return_exceptions`: errors, cancellations too, take the place of results, and nothing is
---  raised; `cancel_on_error` has nothing to do then
---- `cancel_on_error`: the first error cancels the rest, and is raised when all have ended.
---  (asyncio has no such option.)
---
---Otherwise the first error is raised at once and the others go on; their errors count as taken,
---and are reported under `--debug` only. Cancelling who waits cancels all, and waits until every
---one has ended; asyncio goes on as soon as the first one has.
---
---Raises: the first error; `CancelledError` about a child that was cancelled.
---@async
---@overload fun(list: lilac.Awaitable[], options?: lilac.GatherOptions): table
---@param ... lilac.Awaitable
---@return any ...
function lilac.gather(...) end

---Waits for tasks and futures; functions are started. It cancels nothing and raises none of
---their errors.
---
---Raises: an argument error for an empty list.
---@async
---@param list lilac.Awaitable[]
---@param options? lilac.WaitOptions
---@return lilac.Future[] done in the order of the list, where asyncio has sets
---@return lilac.Future[] pending
function lilac.wait(list, options) end

---Iterates over tasks and futures as they end: `for task in lilac.as_completed(list) do`. Unlike
---in asyncio those that come are the items themselves, and have ended: ask for their `result()`.
---Leaving the loop cancels nothing.
---
---Raises: in the loop, `TimeoutError` when the time is over and not all have ended.
---@async
---@param list lilac.Awaitable[]
---@param options? { timeout?: number } seconds
---@return fun(): lilac.Future?
function lilac.as_completed(list, options) end

---Awaits; cancelling who waits leaves the awaitable running, and ends the wait at once.
---
---Raises: its error.
---@async
---@param aw lilac.Awaitable
---@return any ... all its results
function lilac.shield(aw) end

---------------------------------------------------------------------------------------------------
-- TaskGroup

---Tasks that end before the scope does: `local tg <close> = lilac.TaskGroup()`.
---
---Leaving the scope waits for all. The first error, of a task or of the body, cancels all the
---others and the body. One error leaves the scope as itself, where asyncio always wraps; several
---leave as one `ExceptionGroup` (`err.errors`); the same error counts once. A task that was
---cancelled is no error.
---
---A cancellation from outside cancels the tasks, waits for them, and goes on; when there are
---errors, they leave first and the cancellation is raised at the next await. asyncio lets it go
---lost there until 3.13.
---@class lilac.TaskGroup
local TaskGroup = {}

---Creates a group, to be closed; with a function, calls `fn(tg)` in it and returns its results
---when all tasks have ended.
---
---Raises: with a function, what leaves the scope.
---@async
---@overload fun(fn: async fun(tg: lilac.TaskGroup): ...): ...
---@return lilac.TaskGroup
function lilac.TaskGroup() end

---Creates a task in the group. Anybody may, until the group is closed or a task of it has
---failed.
---
---Raises: `InvalidStateError` after that; in a task that was cancelled with the group, and did not
---meet that yet, its cancellation.
---@param fn fun(...): ...
---@param ... any
---@return lilac.Task
function TaskGroup:create_task(fn, ...) end

---Runs `fn(started, …)` in a task of the group and waits until it calls `started(values…)`,
---once. When the waiting is cancelled, so is the task. As trio's `nursery.start`; asyncio has
---nothing like it.
---
---Raises: the error of a function that fails before; `InvalidStateError` when it ends without
---the call.
---@async
---@param fn fun(started: fun(...), ...): ...
---@param ... any
---@return any ... what `started` was given
function TaskGroup:start(fn, ...) end

---Cancels the tasks of the group; in the function form also the body, which then returns
---nothing. No error comes of it, and the group goes on.
function TaskGroup:cancel() end

return lilac
