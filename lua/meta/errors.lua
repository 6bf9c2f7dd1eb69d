---@meta
-- Error objects. Every error that lilac raises is one; a user may raise any value, which arrives
-- as it is (nil becomes the string "<no error object>").

---@class lilac
---@field errors lilac.errors

---@class lilac.errors
local errors = {}

---@alias lilac.ErrorClass
---| "Error" the parent of all
---| "CancelledError"
---| "InvalidStateError" misuse of an object's state
---| "ClosedError"
---| "ProcessError"
---| "QueueEmpty"
---| "QueueFull"
---| "QueueShutDown"
---| "BrokenBarrierError"
---| "DeadlockError"
---| "IncompleteReadError" has `partial`
---| "LimitOverrunError"
---| "ExceptionGroup" has `errors`
---| "OSError" the parent of all below
---| "TimeoutError"
---| "TLSError"
---| "DNSError"
---| "ConnectionError" the parent of the next four
---| "ConnectionRefusedError"
---| "ConnectionResetError"
---| "ConnectionAbortedError"
---| "BrokenPipeError"
---| "FileNotFoundError"
---| "FileExistsError"
---| "IsADirectoryError"
---| "NotADirectoryError"
---| "PermissionError"
---| "AddressInUseError"
---| "BlockingIOError"
---| "ChildProcessError"
---| "InterruptedError"
---| "ProcessLookupError"

---An error. `tostring(err)` is "<name>: <message>", and so it is in `"it failed: " .. err`. Fields
---may be added.
---
---In asyncio a `CancelledError` is a BaseException, so that `except Exception` lets it pass. In
---lilac `pcall`, `xpcall` and `coroutine.resume` let the running task's own pass; `lilac.pcall`
---does not.
---@class lilac.Error
---@field name lilac.ErrorClass
---@field message string of a cancellation: who asked, where, and the message given
---@field traceback string? where it was raised
---@field cause any the error that led to it
---@field code string? of system errors: "ECONNREFUSED"
---@field errno integer? of system errors
---@field syscall string? of system errors: "connect"
---@field errors any[]? of an ExceptionGroup; of a connect that failed at several addresses
---@field partial string? of an IncompleteReadError: what came before the end
local Error = {}

---Tells whether a value is an error object of that class, or of a child of it.
---
---Raises: an argument error for a class that does not exist.
---@param err any
---@param class lilac.ErrorClass
---@return boolean
function errors.is(err, class) end

---Makes an error object, to be raised with `error(err)`.
---
---Raises: an argument error for a class that does not exist.
---@param class lilac.ErrorClass
---@param message string
---@param fields? table<string, any>
---@return lilac.Error
function errors.new(class, message, fields) end

return errors
