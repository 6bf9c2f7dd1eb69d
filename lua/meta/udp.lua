---@meta lilac.udp

local udp = {}

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

--- Opens a UDP socket; also `lilac.net.udp`.
---
--- Raises: DNSError; AddressInUseError, PermissionError and other children of OSError.
---@async
---@param options? lilac.UdpOptions
---@return lilac.Socket
function udp.open(options) end

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

return udp
