--- What the option `tls` of connections and servers means, and `stream:start_tls`. Contexts and
--- handshakes are C (lilac.tls, see lua/meta/tls.lua).

local lilac = require "lilac"
local tls = require "lilac.tls"

local HANDSHAKE_TIMEOUT = 60 -- seconds

local CONTEXT_OPTIONS = { "ca", "cert", "key", "password", "verify", "client_cert", "alpn",
  "min_version", "sni" }
local OPTIONS = { "context", "handshake_timeout", "server_hostname", "server_side" }

local start_tls = {}

local default -- the context of `tls = true`, which remembers sessions

local function default_context()
  default = default or tls.context()
  return default
end

local function is_context(value)
  local meta = getmetatable(value)
  return type(value) == "userdata" and type(meta) == "table" and meta.__name == "Context"
end

--- A new context; what is wrong with its options is complained of as with ours.
local function new_context(options, complain)
  local ok, result = pcall(tls.context, options)
  if ok then return result end
  local what = type(result) == "string" and result:match "%((.*)%)$"
  if what then complain("%s", what) end
  error(result, 0)
end

local function set(...)
  local members = {}
  for _, names in ipairs { ... } do
    for _, name in ipairs(names) do members[name] = true end
  end
  return members
end

local of_context, of_connection = set(CONTEXT_OPTIONS), set(OPTIONS)

--- Parts options into those of a context, nil for none at all, and those of a connection.
local function part(options, complain)
  local context, connection = nil, {}
  for name, value in pairs(options) do
    if of_connection[name] then
      connection[name] = value
    elseif of_context[name] then
      context = context or {}
      context[name] = value
    else
      complain("unknown option '%s'; known: %s, %s", tostring(name),
        table.concat(CONTEXT_OPTIONS, ", "), table.concat(OPTIONS, ", "))
    end
  end
  return context, connection
end

local function check_connection(connection, given, complain)
  if given.server_side ~= nil and connection.server_side ~= nil then
    complain("option 'server_side' is fixed here")
  end
  connection.server_side = connection.server_side or given.server_side
  connection.server_hostname = connection.server_hostname or given.server_hostname
  if connection.context ~= nil and not is_context(connection.context) then
    complain("option 'context': Context expected, got %s", type(connection.context))
  end
  local timeout = connection.handshake_timeout
  if timeout ~= nil and not (type(timeout) == "number" and timeout >= 0) then
    complain("option 'handshake_timeout': number of seconds expected, got %s", tostring(timeout))
  end
end

--- Makes what the value of an option `tls` asks for: a function that shakes hands on a stream and
--- returns it. Reads the files, once.
---@async
---@param options true|lilac.TLSContext|lilac.StartTLSOptions
---@param given { server_side: boolean, server_hostname: string? } what the caller knows better
---@param complain fun(format: string, ...) raises an argument error
---@return async fun(stream: lilac.Stream): lilac.Stream
function start_tls.prepare(options, given, complain)
  if is_context(options) then options = { context = options } end
  if options == true then options = {} end
  if type(options) ~= "table" then
    complain("true, Context or table of options expected, got %s", type(options))
  end
  local own, connection = part(options, complain)
  check_connection(connection, given, complain)
  if own and connection.context then
    complain("option '%s' is one of the Context", (next(own)))
  end
  if own and own.verify == nil and connection.server_side and not own.ca then
    own.verify = false -- there is nobody to be verified: what the system trusts is not read
  end
  local context = connection.context or own and new_context(own, complain) or default_context()
  if connection.server_side and not context:serves() then
    complain("a server needs a certificate: option 'cert'")
  elseif connection.server_side and connection.server_hostname then
    complain("option 'server_hostname' is for clients")
  end
  local timeout = connection.handshake_timeout or HANDSHAKE_TIMEOUT
  local rest = {
    server_side = connection.server_side,
    server_hostname = connection.server_hostname,
  }
  return function(stream)
    local is_in_time, result = lilac.move_on_after(timeout, tls.handshake, stream, context, rest)
    if is_in_time then return result end
    error(lilac.errors.new("TimeoutError", ("handshake%s: not over within %g s"):format(
      rest.server_hostname and " " .. rest.server_hostname or "", timeout)))
  end
end

--- `stream:start_tls(options)`.
---@async
---@param stream lilac.Stream
---@param options? true|lilac.TLSContext|lilac.StartTLSOptions
---@return lilac.Stream
function start_tls.start(stream, options)
  local function complain(format, ...)
    error(("bad argument #1 to 'start_tls' (%s)"):format(format:format(...)), 0)
  end
  if options == nil then options = true end
  return start_tls.prepare(options, {}, complain)(stream)
end

return start_tls
