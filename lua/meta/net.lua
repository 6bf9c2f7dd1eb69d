---@meta lilac.net

local net = {}

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
--- program. Twice is fine; does not wait.
function Stream:close() end

--- The address of the peer.
---@return string host
---@return integer port
function Stream:peername() end

--- The address of this end.
---@return string host
---@return integer port
function Stream:sockname() end

--- A socket that listens. One task accepts at a time; connections that nobody accepts wait in the
--- backlog.
---@class lilac.Listener
---@field host string numeric address
---@field port integer
local Listener = {}

--- Waits for a connection.
---
--- Raises: ClosedError when the listener is closed; InvalidStateError when another task accepts;
--- OSErrors such as EMFILE, after which it can be called again.
---@async
---@return lilac.Stream
function Listener:accept() end

--- Iterates over connections until the listener is closed: `for stream in listener:incoming() do`.
---@return async fun(): lilac.Stream?
function Listener:incoming() end

--- Stops listening; connections in the backlog are reset. Twice is fine.
function Listener:close() end

---@class lilac.ConnectionOptions
---@field nodelay? boolean send small packets at once; default true
---@field keepalive? boolean|integer look after peers silent so long (s); true: 60; default false
---@field limit? integer how long a line may be, in bytes; default 65536

---@class lilac.ConnectOptions : lilac.ConnectionOptions
---@field timeout? number in seconds, for resolving and connecting together; default none
---@field local_addr? string numeric address to connect from
---@field happy_eyeballs_delay? number in seconds, how long an address may take before the next one
---is tried too; default 0.25

---@class lilac.ListenOptions : lilac.ConnectionOptions
---@field backlog? integer how many connections may wait to be accepted; default 1024
---@field reuse_port? boolean share the port with other processes; default false

---@class lilac.ServeOptions : lilac.ListenOptions
---@field max_connections? integer more than these wait in the backlog; default no limit

---@class lilac.UdpOptions
---@field host? string name or numeric address of an interface; default all, of both families
---@field port? integer default 0: any free one, see `.port`
---@field queue? integer how much may wait to be received, in bytes, of which the system needs some
---hundred for each datagram; default and maximum are the system's (`net.core.rmem_max`)
---@field reuse_addr? boolean share the port with sockets that ask for that too: each gets the
---multicasts, the last one all else; default false
---@field reuse_port? boolean share the port: each gets its part; default false
---@field broadcast? boolean may send to broadcast addresses; default false
---@field ipv6_only? boolean no IPv4 on an IPv6 socket; default false
---@field ttl? integer how many hops datagrams may go, 1 to 255; default the system's (64)
---@field multicast_ttl? integer the same to groups; default 1: the local network
---@field multicast_loop? boolean whether this machine hears what it sends to groups; default true
---@field multicast_interface? string from where to send to groups: a name ("eth0") or an address

--- Opens a UDP socket.
---
--- Raises: DNSError; AddressInUseError, PermissionError and other children of OSError.
---@async
---@param options? lilac.UdpOptions
---@return lilac.Socket
function net.udp(options) end

--- A UDP socket. Datagrams are received in the order of their arrival; what nobody receives waits
--- in the system's queue, and what finds that full is dropped and counted. As an iterator it gives
--- datagrams until it is closed: `for data, host, port in socket do`.
---
--- Differs from asyncio: no protocol and callbacks; what is not received in time is dropped, and
--- does not fill the memory.
---@class lilac.Socket
---@field host string numeric address
---@field port integer
---@field dropped integer how many datagrams found the queue full
---@overload async fun(): string?, string?, integer?
local Socket = {}

--- Sends a datagram, to the peer of `connect` where there is no host. A name is looked up at each
--- call. Waits while the system has no room; cancelled, it has not sent anything.
---
--- Raises: DNSError; OSErrors, `code` "EMSGSIZE" where the data is too long (over 65507 bytes);
--- ConnectionRefusedError when a datagram sent before to the connected peer was refused;
--- PermissionError for a broadcast without the option; ClosedError.
---@async
---@param data string|number
---@param host? string name or numeric address
---@param port? integer
function Socket:send(data, host, port) end

--- Waits for a datagram.
---
--- Raises: ConnectionRefusedError when a datagram sent to the connected peer was refused;
--- ClosedError when the socket is closed; InvalidStateError when another task receives.
---@async
---@param max? integer in bytes; what is longer is cut; default 65536, more than any datagram has
---@return string data
---@return string host numeric address of the sender
---@return integer port
---@return integer? size how long the datagram was, where it was cut
function Socket:recv(max) end

--- Sends to one peer and receives from it alone, from now on; again: to another one.
---
--- Raises: DNSError; OSErrors.
---@async
---@param host string name or numeric address
---@param port integer
function Socket:connect(host, port) end

--- Receives what is sent to a multicast group.
---
--- Raises: OSErrors: AddressInUseError where it is a member already.
---@param group string numeric address
---@param interface? string name ("eth0") or address; default the one that leads to the group
function Socket:join(group, interface) end

--- Leaves a group; the interface as in `join`.
---
--- Raises: OSErrors: EADDRNOTAVAIL where it is no member.
---@param group string
---@param interface? string
function Socket:leave(group, interface) end

--- The address of this end.
---@return string host
---@return integer port
function Socket:sockname() end

--- The address of the peer; nothing where the socket is not connected.
---@return string? host
---@return integer? port
function Socket:peername() end

--- Closes the socket. Who waits on it gets a ClosedError. Twice is fine.
function Socket:close() end
