---@meta lilac.tls

local tls = {}

--- What connections in TLS have in common: whom they trust, and who they are. Made once and used
--- for many: it remembers the sessions of the last 64 hosts that it was a client of, which come
--- back with a shorter handshake.
---@class lilac.TLSContext
local Context = {}

--- Whether it has a certificate, and so can be a server's.
---@return boolean
function Context:serves() end

---@class lilac.TLSContextOptions
---@field ca? string whom to trust, instead of whom the system trusts: a file in PEM, or its text
---@field cert? string certificate of this end, and those that lead up to the authority: as `ca`
---@field key? string its private key, as `ca`; default: it is in `cert`
---@field password? string of an encrypted key
---@field verify? boolean false: as a client, talk to anybody; default true
---@field client_cert? "request"|"require" as a server, ask clients for one that `ca` has signed
---@field alpn? string[] protocols, the best first: a server takes the first one that the client has
---@field min_version? "1.2"|"1.3" default "1.2"
---@field sni? table<string, lilac.TLSContext> as a server, by name: "*.example.org" too

--- Makes a context. The files are read at once, in the thread pool.
---
--- Raises: TLSError where a certificate, a key or the library is not to be used, with `code` and
--- `reason`; FileNotFoundError, PermissionError and other children of OSError.
---
--- Differs from Python's `ssl`: verification is on by default, and off only when that is spelled
--- out.
---@async
---@param options? lilac.TLSContextOptions
---@return lilac.TLSContext
function tls.context(options) end

--- Shakes hands on a stream that is connected: what `Stream:start_tls` does in the end.
---
--- Raises: as `Stream:start_tls`.
---@async
---@param stream lilac.Stream
---@param context lilac.TLSContext
---@param options? { server_side?: boolean, server_hostname?: string }
---@return lilac.Stream stream
function tls.handshake(stream, context, options) end

---@class lilac.TLSOptions : lilac.TLSContextOptions
---@field context? lilac.TLSContext instead of the options of one
---@field handshake_timeout? number in seconds; default 60
---@field server_hostname? string of whom the certificate has to be; default the host of `connect`

---@class lilac.StartTLSOptions : lilac.TLSOptions
---@field server_side? boolean this end is the server; default false

---@class lilac.TLSInfo
---@field version string "TLSv1.3"
---@field cipher string
---@field server_name? string that the client has asked for
---@field alpn? string the protocol chosen
---@field session_reused boolean
---@field peer_subject? string whose certificate the peer has shown: "CN=localhost"
---@field peer_issuer? string who signed it

---@class lilac.Stream
local Stream = {}

--- Goes on in TLS, over whatever transport the stream has. What was written before goes out in
--- plain; what has come and was not read is taken as the peer's part of the handshake. From then
--- on the stream reads and writes as before, but for one thing: where the peer has not said that
--- it is the end, `read` raises a TLSError (`code` "UNEXPECTED_EOF") instead of returning nil, as
--- anybody may have cut the connection. `shutdown` and `close` say it.
---
--- A handshake that fails or is cancelled closes the stream. In TLS 1.3 a client whose certificate
--- is refused hears of that when it reads.
---
--- Raises: TLSError, with `reason` and `code` ("CERT_HAS_EXPIRED", "HOSTNAME_MISMATCH",
--- "DEPTH_ZERO_SELF_SIGNED_CERT", "UNABLE_TO_GET_ISSUER_CERT_LOCALLY", "WRONG_VERSION_NUMBER", …);
--- TimeoutError; InvalidStateError when another task reads, or the stream speaks TLS already;
--- ClosedError; ConnectionResetError and other OSErrors; as `tls.context`.
---@async
---@param options? true|lilac.TLSContext|lilac.StartTLSOptions
---@return lilac.Stream self
function Stream:start_tls(options) end

--- What the handshake has come to; nil for a stream without TLS.
---@return lilac.TLSInfo?
function Stream:tls_info() end

return tls
