---@meta lilac.testing

local testing = {}

--- Makes two Streams that are joined in memory: what is written to one is read from the other, with
--- backpressure, half-close and errors as over a socket, and without the system. The ends have no
--- names. A task that waits on one for what nobody will do is at a deadlock, which is told at once.
---@param options? { limit?: integer } how long a line may be, in bytes; default 65536
---@return lilac.Stream
---@return lilac.Stream
function testing.stream_pair(options) end

--- Waits until all other tasks are blocked: nothing is ready to run, and what has arrived by now
--- was given to who waits for it. What is on its way elsewhere (time that passes, other processes,
--- the thread pool) is not waited for.
---
--- Differs from trio's: takes no `cushion`.
---@async
function testing.wait_all_blocked() end

return testing
