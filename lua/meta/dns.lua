---@meta lilac.dns

local dns = {}

---@class lilac.Address
---@field address string numeric
---@field family "inet"|"inet6"
---@field port integer

--- Finds the addresses of a host, without blocking; a numeric address is its own. Cancelling
--- returns at once, whatever the resolver does. Tasks that ask the same at the same time share one
--- lookup. Lookups have threads of their own, four more than there are cores, so that neither files
--- nor other work ever wait for a name server; further lookups wait.
---
--- Raises: DNSError, which names the host; its `code` is "EAI_NONAME", "EAI_AGAIN", …
---@async
---@param host string?
---@param service? string|integer name or port; default 0
---@param options? { family?: "inet"|"inet6"|"any", passive?: boolean } passive: to listen on
---@return lilac.Address[]
function dns.getaddrinfo(host, service, options) end

--- Whether a host is a numeric address, IPv4 or IPv6, which needs no lookup.
---@param host string
---@return boolean
function dns.is_numeric(host) end

--- Finds the name of a numeric address.
---
--- Raises: DNSError.
---@async
---@param address string
---@param port? integer default 0
---@return string host the address itself where it has no name
---@return string service
function dns.getnameinfo(address, port) end

return dns
