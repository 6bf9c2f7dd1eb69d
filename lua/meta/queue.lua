---@meta
-- Queues between the tasks of one loop. See Channel for queues between threads.

---@class lilac
local lilac = {}

---Items go from tasks that put them to tasks that get them, first in, first out:
---
---    for item in queue:iter() do work(item) end
---
---Items may be any values but nil. Tasks that wait are served in the order of their coming: an item
---that is put while tasks wait in `get` goes straight to the first of them, and a place that gets
---free while tasks wait in `put` is filled with the item of the first of them at once. So a
---cancellation finds the exchange either not begun, or done, and loses no item: a task that is
---cancelled when it was served, but has not run yet, has its item, or has put it, and is cancelled
---at its next await. (In asyncio it would give back what it got.)
---@class lilac.Queue<T>
local Queue = {}

---Creates a queue.
---@param maxsize? integer how many items it holds before `put` waits; default 0, no limit. Unlike
---in asyncio, negative numbers and fractions are refused.
---@return lilac.Queue
function lilac.Queue(maxsize) end

---A queue whose newest item comes first.
---@class lilac.LifoQueue<T>: lilac.Queue<T>

---Creates a last in, first out queue.
---@param maxsize? integer default 0, no limit
---@return lilac.LifoQueue
function lilac.LifoQueue(maxsize) end

---A queue whose least item comes first, and of equal items the one that was put first.
---
---Where the comparison raises an error, the call raises it that would have put or got an item, and
---the queue is as before; a task that waited in `put` gets the error of its own item. As with all
---queues, an item put while a task waits in `get` is that task's: unlike in asyncio, a lesser one
---that follows at once goes to the next task.
---@class lilac.PriorityQueue<T>: lilac.Queue<T>

---Creates a priority queue. For items that have no order of their own:
---
---    lilac.PriorityQueue(0, function(a, b) return a.priority < b.priority end)
---@generic T
---@param maxsize? integer default 0, no limit
---@param less? fun(a: T, b: T): boolean whether `a` comes before `b`; default `a < b`. It may not
---await, nor use the queue.
---@return lilac.PriorityQueue<T>
function lilac.PriorityQueue(maxsize, less) end

---Puts an item; waits while the queue is full.
---
---Raises: `QueueShutDown` when the queue was shut down, or is while it waits.
---@async
---@param item any not nil
function Queue:put(item) end

---Takes the next item; waits while the queue is empty.
---
---Raises: `QueueShutDown` when the queue was shut down and is empty.
---@async
---@return any item
function Queue:get() end

---Puts an item without waiting. Works where a task cannot wait: in callbacks, in a `table.sort`.
---
---Raises: `QueueFull`; `QueueShutDown` when the queue was shut down.
---@param item any not nil
function Queue:put_nowait(item) end

---Takes the next item without waiting.
---
---Raises: `QueueEmpty`; `QueueShutDown` when the queue was shut down and is empty.
---@return any item
function Queue:get_nowait() end

---Iterates over the items, taking and waiting as `get` does: `for item in queue:iter() do`. The
---loop ends when the queue was shut down and is empty. Several tasks may iterate over one queue:
---each item goes to one of them.
---@async
---@return fun(queue: lilac.Queue): any next, lilac.Queue queue
function Queue:iter() end

---Tells that the work on an item that was got is over. For `join`.
---
---Raises: `InvalidStateError` when it was called for all items already.
function Queue:task_done() end

---Waits until `task_done` was called for every item that was put.
---@async
function Queue:join() end

---Closes the queue: `put` raises from now on, also for tasks that wait in it, and `get` does when
---the queue is empty. Shutting down twice is fine.
---@param immediate? boolean drops all items that are in the queue; for `join`, they are done. An
---item that was put while a task waited for one is that task's already. Default false.
function Queue:shutdown(immediate) end

---Returns the number of items in the queue.
---@return integer
function Queue:qsize() end

---Returns how many items the queue holds at most; 0: no limit.
---@return integer
function Queue:maxsize() end

---Tells whether there is no item in the queue.
---@return boolean
function Queue:empty() end

---Tells whether the queue holds as many items as it may.
---@return boolean
function Queue:full() end
