---@meta lilac.signal

--- Signals. Names are "SIGHUP" or "HUP"; lilac returns "SIGHUP". Numbers are refused: they differ
--- between systems.
---
--- While somebody listens for a signal, that replaces what the signal does by default (SIGHUP,
--- SIGINT and SIGTERM: cancel main; SIGQUIT: print the tasks; most others: end the process; none
--- of it, but the list of tasks, if it was ignored when lilac was started). When the last one has
--- left, the default is back. All who listen are told. Signals that come faster than the loop turns
--- are told once, as the system does it.
---
--- SIGKILL and SIGSTOP cannot be caught; SIGCHLD belongs to lilac, which reaps the children of
--- `lilac.process`; SIGSEGV, SIGBUS, SIGFPE and SIGILL are refused, as the process is broken then.
---
--- Threads may listen, too: a signal is told to all who listen, in whichever thread.
---
--- Who listens counts as I/O: with a handler, or a task that waits, there is no deadlock.
local signal = {}

---@class lilac.SignalHandle
local SignalHandle = {}

--- Stops calling the function. Twice is fine. Leaving the scope of the handle does the same.
function SignalHandle:close() end

---@class lilac.SignalIterator
---@operator call: string?
local SignalIterator = {}

--- Stops listening; a task that waits at it gets nil. Twice is fine.
function SignalIterator:close() end

--- Calls `fn(name)` soon after each such signal, as a callback: it must not await, but may create a
--- task. The handle need not be kept: the function stands until the handle is closed.
---
--- Differs from asyncio: several functions may stand for one signal, and all are called.
---@param name string
---@param fn fun(name: string)
---@return lilac.SignalHandle
function signal.handle(name, fn) end

--- Waits until one of these signals comes. One that came before does not count: see `iter`.
---@async
---@param ... string names
---@return string name
function signal.wait(...) end

--- Iterates over signals as they come: `for name in lilac.signal.iter("HUP", "USR1") do`. What
--- comes between two rounds is not lost; of several the one with the lowest number is first. The
--- loop closes it. Elsewhere the iterator is called: after
--- `local next <close> = lilac.signal.iter "HUP"`, `next()` waits for the next one.
---
--- Raises: InvalidStateError when a second task waits at the same iterator.
---@param ... string names
---@return lilac.SignalIterator
function signal.iter(...) end

--- Sends a signal to this process.
---@param name string
function signal.raise(name) end

--- Sends a signal to a process.
---
--- Raises: ProcessLookupError, PermissionError.
---@param pid integer at least 1
---@param name string
function signal.kill(pid, name) end

return signal
