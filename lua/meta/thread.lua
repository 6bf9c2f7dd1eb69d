---@meta
-- Threads: Lua states of their own, each with its loop, in threads of the system.

---@class lilac
local lilac = {}

---Runs a function in another thread and waits for its results. Over there it may do whatever it
---may do here, await included; each thread has a Lua state of its own, and does one job at a time.
---For what computes for long, and for C that blocks:
---
---    local digest = lilac.to_thread(hash, text)
---
---**What travels** are copies: nil, booleans, numbers, strings, tables (with what they share,
---their circles and their metatables), Lua functions with their upvalues (what functions share
---stays shared, `_ENV` becomes the globals over there), C functions, error objects, light
---userdata. Channels and context variables are the same there. Modules, and C functions with
---upvalues that are fields of one, travel by name: each thread has its own, and `require`s it when
---it must. Everything else is refused, and the error names the path to it: `upvalue 'conn' → field
---'sock': a Stream cannot be sent to another thread`. So are tables whose metatable has `__gc` or
---`__close`: what owns something stays where it is. A class whose objects are to be the same
---everywhere belongs into a module. At most 1 GiB travels at once.
---
---**Errors** come back as they are, with the traceback of the thread before that of the task. What
---of an error cannot travel becomes a text.
---
---**A cancellation** of the waiting task is passed on and stops the work: what awaits over there
---is cancelled, what computes is interrupted at its next instruction, `<close>` variables run; the
---wait goes on until that is over (in asyncio the thread would just go on). A thread that is stuck
---in a C function after nine tenths of `--grace` is left behind, which is reported, and another
---one takes its place. So does one when a C module breaks the state of a thread, by an error in a
---callback of libuv: that is the error of the job then.
---
---Tasks that the function leaves behind are cancelled and awaited before its results come back.
---Between two jobs the loop of a thread stands still. Context variables have the values of the
---task, as far as they can travel. `os.exit` ends the program. The threads are those of a pool
---with four more than there are cores, at most 32, as Python's; they are started when they are
---needed.
---@async
---@param fn async fun(...): ... or a callable object
---@param ... any arguments
---@return any ... what it returns
function lilac.to_thread(fn, ...) end

---Threads for some jobs of one's own: so many at a time, or with globals that last from job to
---job.
---
---    local pool <close> = lilac.ThreadPool(2)
---    local results = pool:map(resize, images)
---
---Leaving the scope waits for the jobs and ends the threads, as `shutdown` does; when an error or
---a cancellation leaves it, or comes while it waits there, the jobs are cancelled first.
---@class lilac.ThreadPool
local ThreadPool = {}

---Creates a pool. Its threads are started when they are needed, with `package.path` and
---`package.cpath` as they are now.
---@param threads? integer at most so many; default: as `to_thread` has
---@param options? { memory?: integer } `memory`: bytes that the Lua state of a thread may take; an
---error "not enough memory" ends what takes more. Default: no limit.
---@return lilac.ThreadPool
function lilac.ThreadPool(threads, options) end

---Sends a job; it begins as soon as a thread is free. What cannot travel is refused at once, see
---`to_thread`.
---
---Raises: `InvalidStateError` when the pool was shut down.
---@param fn async fun(...): ...
---@param ... any arguments
---@return lilac.Task task that waits for it: cancelling it cancels the job
function ThreadPool:submit(fn, ...) end

---Calls a function for each item of a list, and waits for all. The first error cancels the rest.
---@async
---@param fn async fun(item: any): any
---@param list any[]
---@param options? { concurrency?: integer } at most so many at a time; default: one per thread
---@return table results the first result for each item, in order, with `n`
function ThreadPool:map(fn, list, options) end

---Takes no more jobs, waits for those that were submitted, then for the end of the threads.
---@async
function ThreadPool:shutdown() end

---A queue between threads; its items are copied, see `to_thread`. Several may put and get at both
---ends, in any threads: an item goes to one of them, the first in line, and comes in the order in
---which it was put. A cancellation loses none: it finds the exchange either not begun, or done, as
---with `Queue`. When all threads that could put or get wait themselves, the last one gets a
---`DeadlockError`.
---@class lilac.Channel<T>
local Channel = {}

---Creates a channel.
---@param capacity? integer how many items it holds before `put` waits; default 0, no limit
---@return lilac.Channel
function lilac.Channel(capacity) end

---Puts an item; waits while the channel is full.
---
---Raises: `QueueShutDown` when it was shut down, or is while it waits.
---@async
---@param item any not nil
function Channel:put(item) end

---Takes the next item; waits while the channel is empty.
---
---Raises: `QueueShutDown` when it was shut down and is empty.
---@async
---@return any item
function Channel:get() end

---Puts an item without waiting.
---
---Raises: `QueueFull`; `QueueShutDown` when it was shut down.
---@param item any not nil
function Channel:put_nowait(item) end

---Takes the next item without waiting.
---
---Raises: `QueueEmpty`; `QueueShutDown` when it was shut down and is empty.
---@return any item
function Channel:get_nowait() end

---Iterates over the items, taking and waiting as `get` does, until the channel is shut down and
---empty.
---@async
---@return fun(channel: lilac.Channel): any next, lilac.Channel channel
function Channel:iter() end

---Closes the channel for all threads: `put` raises from now on, also for those who wait in it, and
---`get` does when it is empty. Leaving the scope of `<close>` does the same.
---@param immediate? boolean drops the items that are in it; default false
function Channel:shutdown(immediate) end

---As `shutdown()`.
function Channel:close() end

---Returns the number of items in the channel.
---@return integer
function Channel:qsize() end

---Returns how many items the channel holds at most; 0: no limit.
---@return integer
function Channel:maxsize() end

---Tells whether there is no item in the channel.
---@return boolean
function Channel:empty() end

---Tells whether the channel holds as many items as it may.
---@return boolean
function Channel:full() end

---Returns how many cores this process may use.
---@return integer
function lilac.cpu_count() end

---Which of the workers of `lilac --workers` this program is, 1 … count; nil in all others. All of
---them share the ports that they listen on. What runs once is the business of one of them:
---
---    if lilac.workers.current == 1 then lilac.create_task(clean_up) end
---@class lilac.workers
---@field current? integer
---@field count? integer
lilac.workers = {}
