---@meta lilac.net

--- A connection: buffered reading, writing with backpressure. Its bytes arrive while nobody
--- reads, up to `limit` and a little; then the peer has to wait.
---
--- Reading. One task reads at a time: a second one gets an InvalidStateError that names both. A
--- cancelled read loses nothing. An error of the connection is raised after what had arrived
--- before it was read. Where a line is too long, LimitOverrunError: what is there can still be
--- read otherwise.
---
--- Writing. Several tasks may write: the bytes of one call stay together, in the order of the
--- calls, whether the tasks are cancelled or not.
---
--- Differs from asyncio: reader and writer are one object, and writing waits by itself.
---@class lilac.Stream
local Stream = {}

--- Reads like `file:read`, in one format at a time; nil at the end of the stream.
---
--- `"l"` a line without its newline (default), `"L"` with it, `"a"` all up to the end (`""` at the
--- end), a number: so many bytes, fewer only before the end; 0: `""`, or nil at the end.
---
--- Raises: LimitOverrunError for a line longer than `limit`; ClosedError when another task closes
--- the stream; InvalidStateError when another task reads it; ConnectionResetError and other
--- OSErrors.
---@async
---@param format? "l"|"L"|"a"|integer
---@return string?
function Stream:read(format) end

--- Reads whatever is there, at least one byte; nil at the end of the stream.
---
--- Raises: as `read`.
---@async
---@param max? integer in bytes, default all
---@return string?
function Stream:read_some(max) end

--- Reads exactly so many bytes.
---
--- Raises: IncompleteReadError (with `partial`) when the stream ends before, also at once; as
--- `read`.
---@async
---@param size integer in bytes
---@return string
function Stream:read_exactly(size) end

--- Reads up to a separator, which is included; nil at the end of the stream.
---
--- Raises: IncompleteReadError (with `partial`) when the stream ends without one; LimitOverrunError
--- when more than `limit` bytes come before it; as `read`.
---@async
---@param separator string
---@return string?
function Stream:read_until(separator) end

--- Iterates over the stream: `for line in stream:lines() do`. Does not close it.
---@param format? "l"|"L"|"a"|integer as in `read`
---@return async fun(): string?
function Stream:lines(format) end

--- Writes strings and numbers, like `file:write`. Returns as soon as they are accepted and at most
--- 64 KiB are unsent. A cancellation while it waits leaves nothing half written: all of it will be
--- sent.
---
--- Raises: BrokenPipeError, ConnectionResetError and other OSErrors, at this write or the next;
--- InvalidStateError after `shutdown`; ClosedError when another task closes the stream.
---@async
---@param ... string|number
---@return lilac.Stream self
function Stream:write(...) end

--- Waits until all that was written before has been handed to the system.
---
--- Raises: as `write`.
---@async
function Stream:flush() end

--- Ends the sending direction when all that was written is sent: the peer reads the end of the
--- stream. Reading goes on. Twice is fine.
---
--- Raises: as `write`.
---@async
function Stream:shutdown() end

--- Closes the stream. Who waits on it gets a ClosedError. What was written is still sent in the
--- background; a peer that does not take it gets 30 seconds, and 1 second at the end of the
--- program. Where the peer has sent what nobody has read, the connection is not reset, so that what
--- was written arrives: what comes is thrown away, up to 16 MiB and 5 seconds. Twice is fine; does
--- not wait.
function Stream:close() end

--- The address of the peer: of TCP host and port, of a Unix socket its path ("@name" of an abstract
--- one), "" of what has no name, such as a pipe or who connects to a Unix socket.
---@return string host
---@return integer? port
function Stream:peername() end

--- The address of this end, likewise.
---@return string host
---@return integer? port
function Stream:sockname() end

--- Who is at the other end of a Unix socket, as it was when that connected or began to listen.
---
--- Raises: OSError on anything but a Unix socket.
---@return integer pid
---@return integer uid
---@return integer gid
function Stream:peercred() end

--- A socket that listens. One task accepts at a time; connections that nobody accepts wait in the
--- backlog.
---@class lilac.Listener
---@field host? string numeric address, of TCP
---@field port? integer
---@field path? string of a Unix socket
local Listener = {}

--- Waits for a connection.
---
--- Raises: ClosedError when the listener is closed; InvalidStateError when another task accepts;
--- OSErrors such as EMFILE, after which it can be called again.
---@async
---@return lilac.Stream
function Listener:accept() end

--- Waits until a connection is there, and leaves it to `accept`.
---
--- Raises: ClosedError when the listener is closed; InvalidStateError when another task accepts.
---@async
function Listener:wait() end

--- Iterates over connections until the listener is closed: `for stream in listener:incoming() do`.
---@return async fun(): lilac.Stream?
function Listener:incoming() end

--- Stops listening; connections in the backlog are reset. The file of a Unix socket is removed,
--- unless another has taken its place. Twice is fine.
function Listener:close() end

--- When a peer that is silent is asked for a sign of life; who does not answer has vanished, and
--- whoever reads gets a TimeoutError. So a connection whose other end lost its power or its network
--- does not stay for ever. (While something is unsent, the system finds out by repeating it, which
--- takes Linux a quarter of an hour.) Seconds are rounded up.
---@class lilac.Keepalive
---@field idle? number after so many seconds of silence; default 60
---@field interval? number seconds between one question and the next; default idle / count
---@field count? integer how many questions stay without an answer at most; default 6

---@class lilac.ConnectionOptions
---@field nodelay? boolean send small packets at once; default true
---@field keepalive? boolean|number|lilac.Keepalive seconds: `idle`; default true: a peer that has
--- vanished is noticed after two minutes
---@field limit? integer how long a line may be, in bytes; default 65536

---@class lilac.ConnectOptions : lilac.ConnectionOptions
---@field timeout? number in seconds, for resolving, connecting and TLS together; default none
---@field local_addr? string numeric address to connect from
---@field happy_eyeballs_delay? number in seconds, how long an address may take before the next one
---is tried too; default 0.25
---@field tls? true|lilac.TLSContext|lilac.TLSOptions speak TLS; default false

---@class lilac.ListenOptions : lilac.ConnectionOptions
---@field backlog? integer how many connections may wait to be accepted; default 1024
---@field reuse_port? boolean share the port with other processes; default false

---@class lilac.ServerOptions
---@field max_connections? integer more than these wait in the backlog; default no limit. One whose
--- handler has ended counts no more, also while its last bytes are on their way
---@field tls? lilac.TLSContext|lilac.TLSOptions speak TLS, before the handler
---@field grace? number how long connections may go on after `close`, in seconds, before their
--- handlers are cancelled; default no limit, and no time when an error leaves the server's scope

---@class lilac.ServeOptions : lilac.ListenOptions, lilac.ServerOptions
---@field workers? integer|"auto" serve on so many loops, "auto": one per core; default: on this one

---@class lilac.ConnectUnixOptions
---@field timeout? number in seconds, for waiting while the backlog is full; default none
---@field tls? lilac.TLSContext|lilac.TLSOptions speak TLS; default false
---@field limit? integer how long a line may be, in bytes; default 65536

---@class lilac.ListenUnixOptions
---@field mode? integer|string permissions of the file, such as "660"; default as the umask has it
---@field backlog? integer how many connections may wait to be accepted; default 1024
---@field limit? integer how long a line may be, in bytes; default 65536

---@class lilac.ServeUnixOptions : lilac.ListenUnixOptions, lilac.ServerOptions
