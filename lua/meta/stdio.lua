---@meta lilac.stdio

--- The standard streams, each made when it is first asked for, over a terminal, pipe, socket, file
--- or device. Lines may have up to 1 MiB.
---
--- What other processes share with us stays as it is: a terminal or pipe is opened once more, and
--- never made non-blocking for the others. Nothing has to be put back, however lilac ends.
---
--- With `print` and `io`: what they have written to stdout goes out before what is written to the
--- Stream afterwards. What they write later may overtake what the Stream still has to send, to a
--- slow reader: `stdout:flush()` waits for that. Read stdin by one of them only: both read ahead.
---
--- Nothing is held back: each `write` is a system call, so that whoever has much to say in small
--- pieces joins them (`table.concat`, several arguments). Writing to a file waits for the disk as
--- `print` does; writing to anything else parks the task while more than 64 KiB are unsent. What
--- was accepted is written at the end of the program, however slow the reader. When nobody reads
--- stdout any more, the program ends by SIGPIPE, as any filter; with a handler for SIGPIPE
--- writing raises BrokenPipeError.
---
--- `close` closes the Stream, and leaves descriptors 0 to 2 to `print`, `io` and children; who asks
--- for it again gets another Stream. `shutdown` ends stdout or stderr for the reader: the
--- descriptor fails from then on as a closed one.
---@class lilac.stdio
---@field stdin lilac.Stream
---@field stdout lilac.Stream
---@field stderr lilac.Stream
local stdio = {}

---@class lilac.Stream
local Stream = {}

--- Whether it is a terminal: one of the standard streams.
---@return boolean
function Stream:isatty() end

--- Sets the mode of the terminal. "raw": keys come as they are typed, Ctrl-C is one of them, and
--- nothing is echoed. "cbreak": the same, but Ctrl-C, Ctrl-Z and Ctrl-\ are signals. "normal": as
--- it was found; that is back when the Stream is closed and at the end of the process, by an error
--- or signal too (but SIGKILL). After Ctrl-Z the shell has changed it: a program that goes on by
--- SIGCONT sets it again.
---
--- Raises: OSError (ENOTTY) where it is no terminal.
---@param mode "normal"|"cbreak"|"raw"
function Stream:set_mode(mode) end

--- The size of the terminal. It changes with SIGWINCH: `for _ in lilac.signal.iter "WINCH" do`.
---
--- Raises: OSError (ENOTTY) where it is no terminal.
---@return integer columns
---@return integer rows
function Stream:winsize() end

return stdio
