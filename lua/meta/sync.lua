---@meta
-- Synchronisation between the tasks of one loop: Event, Lock, Condition, Semaphore, Barrier.
--
-- All are FIFO-fair: what one task gives up goes straight to the task that has waited longest. From
-- that moment it has it, also before it runs, and nobody can take it in between. A task cancelled
-- while it waits leaves the line, so nothing is handed to it. One that is cancelled when it was
-- served, but has not run yet, keeps what it got and is cancelled at its next await; in asyncio it
-- would give it back.
--
-- None of these objects belongs to a task, or needs to be closed. Giving up (`release`, `set`,
-- `notify`, `abort`) never waits, and works in callbacks too.

---@class lilac
local lilac = {}

---------------------------------------------------------------------------------------------------
-- Event

---A flag that tasks can wait for.
---@class lilac.Event
local Event = {}

---Creates an event that is not set.
---@return lilac.Event
function lilac.Event() end

---Sets the flag and lets everybody go who waits for it. They all go, also when `clear` follows at
---once.
function Event:set() end

---Resets the flag: `wait` waits again.
function Event:clear() end

---Tells whether the flag is set.
---@return boolean
function Event:is_set() end

---Waits until the flag is set; returns at once when it is.
---@async
---@return true
function Event:wait() end

---------------------------------------------------------------------------------------------------
-- Lock

---One task at a time: `local _ <close> = lock:acquire()`.
---
---It knows its owner. A task that would wait for itself through the owners of locks and the tasks
---they await gets a `DeadlockError` in place of an endless wait, unless somebody in that circle is
---under a deadline. A lock whose owner has ended stays locked: use `<close>`.
---
---As in asyncio, any task or callback may release a lock. Unlike there, a lock is its next owner's
---as soon as it is released: `locked()` stays true in between.
---@class lilac.Lock
local Lock = {}

---Creates a free lock.
---@return lilac.Lock
function lilac.Lock() end

---Waits until the lock is free and takes it.
---
---Raises: `DeadlockError` when the task owns it already, or its owner waits for this task.
---@async
---@return lilac.Lock lock the lock itself, whose `__close` releases it
function Lock:acquire() end

---Gives the lock to the task that has waited longest, or frees it.
---
---Raises: `InvalidStateError` when it is free.
function Lock:release() end

---Tells whether somebody has the lock.
---@return boolean
function Lock:locked() end

---Returns the task that has the lock; nil when it is free, or when that task has ended.
---@return lilac.Task?
function Lock:owner() end

---------------------------------------------------------------------------------------------------
-- Condition

---Waiting until others have changed something, which a lock protects:
---
---    local _ <close> = condition:acquire()
---    condition:wait_for(function() return #items > 0 end)
---@class lilac.Condition
local Condition = {}

---Creates a condition.
---@param lock? lilac.Lock default: a new one. Conditions may share a lock.
---@return lilac.Condition
function lilac.Condition(lock) end

---Acquires the lock. See `Lock:acquire`.
---@async
---@return lilac.Condition condition the condition itself, whose `__close` releases the lock
function Condition:acquire() end

---Releases the lock. See `Lock:release`.
function Condition:release() end

---Tells whether somebody has the lock.
---@return boolean
function Condition:locked() end

---Releases the lock, waits for a notification, and returns with the lock acquired again. Several
---tasks that were notified get the lock one after the other, so ask again what you waited for, or
---use `wait_for`.
---
---A task that is cancelled here acquires the lock, too, before its cancellation is raised, however
---long that takes. If it had been notified before, the notification goes on to the next task;
---unlike in asyncio, a task that was not notified wakes no other.
---
---Raises: `InvalidStateError` when nobody has the lock.
---@async
---@return true
function Condition:wait() end

---Waits until the predicate is true: asks it at first, and again after every notification. It is
---called with the lock held, and may await.
---
---Raises: `InvalidStateError` when it must wait and nobody has the lock.
---@async
---@generic T
---@param predicate fun(): T
---@return T value the first true value that the predicate returned
function Condition:wait_for(predicate) end

---Notifies tasks that wait, in the order of their coming. They go on when they get the lock, which
---the caller has to release.
---
---Raises: `InvalidStateError` when nobody has the lock.
---@param count? integer how many at most; default 1
function Condition:notify(count) end

---Notifies all tasks that wait.
---
---Raises: `InvalidStateError` when nobody has the lock.
function Condition:notify_all() end

---------------------------------------------------------------------------------------------------
-- Semaphore, BoundedSemaphore

---So many tasks at a time: `local permit <close> = semaphore:acquire()`.
---@class lilac.Semaphore
local Semaphore = {}

---Creates a semaphore.
---@param permits? integer free at first; from 0; default 1
---@return lilac.Semaphore
function lilac.Semaphore(permits) end

---A semaphore that refuses to have more free permits than at first: it finds a `release` too many.
---@class lilac.BoundedSemaphore: lilac.Semaphore
local BoundedSemaphore = {}

---Creates a bounded semaphore.
---@param permits? integer free at first, and at most; from 0; default 1
---@return lilac.BoundedSemaphore
function lilac.BoundedSemaphore(permits) end

---Waits for a permit and takes it.
---
---Unlike in asyncio, a task that finds a free permit takes it at once, also when tasks that were
---given theirs earlier have not run yet.
---@async
---@return lilac.Semaphore semaphore the semaphore itself, whose `__close` releases one permit
function Semaphore:acquire() end

---Gives a permit to the task that has waited longest, or adds it to the free ones. It need not have
---been acquired before.
---
---Raises: `InvalidStateError` when a bounded semaphore has all its permits free.
function Semaphore:release() end

---Tells whether `acquire` would wait.
---@return boolean
function Semaphore:locked() end

---Returns the number of free permits.
---@return integer
function Semaphore:value() end

---------------------------------------------------------------------------------------------------
-- Barrier

---A place where tasks wait until so many of them are there; then all go on, and it is empty again.
---
---The task that comes last lets the others go: from that moment they have passed. Unlike in
---asyncio, a `reset` or `abort` that follows does not stop them, and who comes next need not wait
---until they have run ("draining"). `reset` and `abort` never wait.
---@class lilac.Barrier
local Barrier = {}

---Creates a barrier.
---@param parties integer how many tasks it takes; from 1
---@return lilac.Barrier
function lilac.Barrier(parties) end

---Waits until all are there. A task that is cancelled meanwhile is not there any more; the others
---go on waiting.
---
---Raises: `BrokenBarrierError` when the barrier was aborted before, or is aborted or reset
---meanwhile.
---@async
---@return integer number 1 for the task that came first, up to the number of parties
function Barrier:wait() end

---Breaks the barrier: `wait` raises for all who are there, and for all who come, until a `reset`.
function Barrier:abort() end

---Makes the barrier empty and whole: `wait` raises for all who are there.
function Barrier:reset() end

---Returns how many tasks the barrier takes.
---@return integer
function Barrier:parties() end

---Returns how many tasks wait at the barrier.
---@return integer
function Barrier:n_waiting() end

---Tells whether the barrier was aborted, and not reset since.
---@return boolean
function Barrier:broken() end
