--- Connections and servers, over TCP and Unix sockets. Streams and sockets are C (lilac.tcp,
--- lilac.unix, see lua/meta/net.lua); here names are resolved, addresses tried, options sorted out.
--- What a server does is in lilac.server.

local lilac = require "lilac"
local dns = require "lilac.dns"
local race = require "lilac.race"
local server = require "lilac.server"
local tcp = require "lilac.tcp"
local udp = require "lilac.udp"
local unix = require "lilac.unix"
local workers = require "lilac.workers"

local FIRST_PAUSE, LAST_PAUSE = 0.001, 0.1 -- seconds, while a backlog is full
local PORT_TRIES = 8 -- to find one that is free on all addresses
local ATTEMPT_DELAY = 0.25 -- seconds that an address has for itself (RFC 8305, section 8)

local CONNECTION_OPTIONS = { "nodelay", "keepalive", "limit" }
local CONNECT_OPTIONS = { "local_addr", table.unpack(CONNECTION_OPTIONS) }
local RACE_OPTIONS = { "timeout", "happy_eyeballs_delay", "tls" }
local LISTEN_OPTIONS = { "backlog", "reuse_port", table.unpack(CONNECTION_OPTIONS) }
local UNIX_LISTEN_OPTIONS = { "backlog", "limit", "mode" }
local SERVE_OPTIONS = { "max_connections", "grace", "tls" }
local SERVE_TCP_OPTIONS = { "workers", table.unpack(SERVE_OPTIONS) }

local net = {}

--- Raises an argument error at the caller of our caller.
local function refuse(argument, name, what, ...)
  error(("bad argument #%d to '%s' (%s)"):format(argument, name, what:format(...)), 4)
end

local function check_address(name, host, port, lowest)
  if type(host) ~= "string" then
    refuse(1, name, "host name or address expected, got %s", type(host))
  end
  port = math.type(port) and math.tointeger(port) or port
  if math.type(port) ~= "integer" or port < lowest or port > 65535 then
    refuse(2, name, "port from %d to 65535 expected, got %s", lowest, tostring(port))
  end
end

local function check_path(name, path)
  if type(path) ~= "string" then
    refuse(1, name, "path of a socket expected, got %s", type(path))
  end
end

--- Checks the names of options; returns those of `passed`, which are for C, in a table of their
--- own. `own` names those that are for us.
local function check_options(name, argument, options, passed, own)
  if options == nil then return {} end
  if type(options) ~= "table" then
    refuse(argument, name, "table of options expected, got %s", type(options))
  end
  local rest, taken = {}, {}
  for option, value in pairs(options) do rest[option] = value end
  for _, option in ipairs(passed) do
    taken[option], rest[option] = rest[option], nil
  end
  for _, option in ipairs(own) do rest[option] = nil end
  local unknown = next(rest)
  if unknown ~= nil then
    local known = table.concat(passed, ", ") .. ", " .. table.concat(own, ", ")
    refuse(argument, name, "unknown option '%s'; known: %s", tostring(unknown),
      (known:gsub(", $", "")))
  end
  return taken
end

--- Checks an option in seconds, which may be absent; returns it.
local function check_seconds(name, argument, options, option)
  local seconds = options and options[option]
  if seconds ~= nil and not (type(seconds) == "number" and seconds >= 0) then
    refuse(argument, name, "option '%s': number of seconds expected, got %s", option,
      tostring(seconds))
  end
  return seconds
end

--- Checks a handler and the options that are for the server, which it returns.
local function check_server(name, argument, handler, options)
  local meta = getmetatable(handler)
  if type(handler) ~= "function" and not (type(meta) == "table" and meta.__call) then
    refuse(argument, name, "function expected, got %s", type(handler))
  end
  local most = options and options.max_connections
  if most ~= nil and not (math.type(most) == "integer" and most > 0) then
    refuse(argument + 1, name, "option 'max_connections': positive integer expected, got %s",
      tostring(most))
  end
  return { max_connections = most, grace = options and options.grace }
end

--- What the option `tls` asks for: a function that shakes hands on a stream and returns it, nil for
--- a connection without TLS. `given` is what we know better.
local function prepare_tls(name, argument, options, given)
  local value = options and options.tls
  if value == nil or value == false then return nil end
  return require "lilac.start_tls".prepare(value, given, function(what, ...)
    error(("bad argument #%d to '%s' (option 'tls': %s)"):format(argument, name,
      what:format(...)), 0)
  end)
end

--- Shakes hands on a new connection, which is closed when that fails or is cancelled.
local function secured(stream, shake_hands)
  local ok, result = lilac.pcall(shake_hands, stream)
  if ok then return result end
  stream:close()
  error(result, 0)
end

--- Calls a function of ours that comes down to one in C. What that says about its arguments is said
--- of those of `name`, whose options are number `argument`, and names no line of ours.
local function on_behalf_of(name, argument, fn, ...)
  local ok, result = pcall(fn, ...)
  if ok then return result end
  if type(result) == "string" then
    result = result:gsub("^%[lilac%.net%]:%d+: ", "")
      :gsub("^bad argument #(%d+) to '[^']+' (%(%w+)", function(at, word)
        if word == "(option" then at = argument end
        return ("bad argument #%s to '%s' %s"):format(at, name, word)
      end)
  end
  error(result, 0)
end

--- Connects to a host, or to a numeric address, which needs no lookup and no race.
local function connect_plain(host, port, options, delay)
  if dns.is_numeric(host) then return tcp.connect(host, port, options) end
  return race(host, dns.getaddrinfo(host, port), delay, tcp.connect, options)
end

local function connect(host, port, options, delay, shake_hands)
  local stream = on_behalf_of("connect", 3, connect_plain, host, port, options, delay)
  return shake_hands and secured(stream, shake_hands) or stream
end

--- Connects to a TCP server. The addresses of a name are raced, as RFC 8305 ("happy eyeballs")
--- says: one that does not answer costs a quarter of a second.
---
--- Raises: DNSError; ConnectionRefusedError and other children of OSError, of the class that the
--- failures at all addresses share, which are in `errors`; TLSError; TimeoutError.
---@async
---@param host string name or numeric address
---@param port integer
---@param options? lilac.ConnectOptions
---@return lilac.Stream
function net.connect(host, port, options)
  check_address("connect", host, port, 1)
  if options == nil then return connect(host, port, nil, ATTEMPT_DELAY) end
  local passed = check_options("connect", 3, options, CONNECT_OPTIONS, RACE_OPTIONS)
  local timeout = check_seconds("connect", 3, options, "timeout")
  local delay = check_seconds("connect", 3, options, "happy_eyeballs_delay") or ATTEMPT_DELAY
  local secure = prepare_tls("connect", 3, options,
    { server_side = false, server_hostname = host })
  if not timeout then return connect(host, port, passed, delay, secure) end
  local is_in_time, stream =
    lilac.move_on_after(timeout, connect, host, port, passed, delay, secure)
  if not is_in_time then
    error(lilac.errors.new("TimeoutError",
      ("connect %s:%d: no connection within %g s"):format(host, port, timeout)))
  end
  return stream
end

net.udp = udp.open

--- A machine without IPv6 may still resolve to an IPv6 address.
local function is_unavailable(err)
  return lilac.errors.is(err, "OSError")
    and (err.code == "EADDRNOTAVAIL" or err.code == "EAFNOSUPPORT")
end

--- Listens on all those addresses with the same port; on the first one only for `most` 1.
local function listen_on(addresses, port, options, most)
  local listeners, failure = {}, nil
  for _, at in ipairs(addresses) do
    local ok, result = pcall(tcp.listen, at.address, port, options)
    if ok then
      listeners[#listeners + 1] = result
      port = result.port
    elseif is_unavailable(result) then
      failure = result
    else
      for _, listener in ipairs(listeners) do listener:close() end
      error(result, 0)
    end
    if #listeners == most then break end
  end
  if #listeners == 0 then error(failure, 0) end
  return listeners
end

--- Listens on every address of a host. A port that was free on the first one may be taken on the
--- next.
local function listen(host, port, options, most)
  if workers.count and options.reuse_port == nil then options.reuse_port = true end
  local addresses = dns.getaddrinfo(host, port, { passive = true })
  for _ = 1, port == 0 and PORT_TRIES - 1 or 0 do
    local ok, result = pcall(listen_on, addresses, port, options, most)
    if ok then return result end
    if not lilac.errors.is(result, "AddressInUseError") then error(result, 0) end
  end
  return listen_on(addresses, port, options, most)
end

--- Connects at once or not at all: to a socket with a full backlog there is no waiting but to try
--- again.
local function connect_unix(path, options, secure)
  local pause = FIRST_PAUSE
  while true do
    local ok, result = pcall(unix.connect, path, options)
    if ok then return secure and secured(result, secure) or result end
    if not lilac.errors.is(result, "BlockingIOError") then error(result, 0) end
    lilac.sleep(pause)
    pause = math.min(2 * pause, LAST_PAUSE)
  end
end

--- Connects to a server over a Unix socket. While its backlog is full, it waits.
---
--- Raises: FileNotFoundError; ConnectionRefusedError, where nobody listens any more;
--- PermissionError and other children of OSError (ENAMETOOLONG: over 107 bytes); TimeoutError.
---@async
---@param path string of the socket; "@name" for an abstract one
---@param options? lilac.ConnectUnixOptions
---@return lilac.Stream
function net.connect_unix(path, options)
  check_path("connect_unix", path)
  local passed = check_options("connect_unix", 2, options, { "limit" }, { "timeout", "tls" })
  local timeout = check_seconds("connect_unix", 2, options, "timeout")
  local secure = prepare_tls("connect_unix", 2, options, { server_side = false })
  local function try()
    return on_behalf_of("connect_unix", 2, connect_unix, path, passed, secure)
  end
  return timeout and lilac.timeout(timeout, try) or try()
end

--- Listens for TCP connections that the program accepts itself. Of a name with several addresses it
--- takes the first one that can be had; `serve` takes all.
---
--- Raises: DNSError; AddressInUseError, PermissionError and other children of OSError.
---@async
---@param host string name or numeric address of an interface; "0.0.0.0" or "::" for all
---@param port integer 0 for any free one: see `.port`
---@param options? lilac.ListenOptions
---@return lilac.Listener
function net.listen(host, port, options)
  check_address("listen", host, port, 0)
  local passed = check_options("listen", 3, options, LISTEN_OPTIONS, {})
  return on_behalf_of("listen", 3, listen, host, port, passed, 1)[1]
end

--- Listens for connections to a Unix socket, which the program accepts itself. A socket that is
--- left from a process that was killed is replaced. Closing removes the file, unless another has
--- taken its place.
---
--- Raises: AddressInUseError, also where the file is no socket; FileNotFoundError,
--- PermissionError and other children of OSError (ENAMETOOLONG: over 107 bytes).
---@param path string of the socket; "@name" for an abstract one, which is no file
---@param options? lilac.ListenUnixOptions
---@return lilac.Listener
function net.listen_unix(path, options)
  check_path("listen_unix", path)
  local passed = check_options("listen_unix", 2, options, UNIX_LISTEN_OPTIONS, {})
  return on_behalf_of("listen_unix", 2, unix.listen, path, passed)
end

--- Serves TCP connections: each gets a task that runs `handler(stream)`; its stream is closed after
--- it. A handler's error is reported, and ends only its connection. So is an error of accepting,
--- such as too many open files, once a minute; the server goes on trying. It runs until it is
--- closed; leaving its scope closes it and waits for the handlers; when an error or a cancellation
--- leaves the scope, it cancels them first, or with `grace` at the end of that time.
---
--- With `workers` it serves on so many loops, each in a thread of its own, which share the port
--- (SO_REUSEPORT). The handler travels there with its upvalues, as with `to_thread`: each worker
--- has copies. A worker that fails is reported and started again, after a pause that doubles; when
--- that comes to nothing five times in a row, the server is closed, and `wait_closed` and the end
--- of its scope raise the error.
---
--- Raises: DNSError; AddressInUseError, PermissionError and other children of OSError.
---@async
---@param host? string name or numeric address of an interface; nil for all
---@param port integer 0 for any free one: see `.port`
---@param handler async fun(stream: lilac.Stream)
---@param options? lilac.ServeOptions
---@return lilac.Server
function net.serve(host, port, handler, options)
  check_address("serve", host or "", port, 0)
  local passed = check_options("serve", 4, options, LISTEN_OPTIONS, SERVE_TCP_OPTIONS)
  check_seconds("serve", 4, options, "grace")
  local own = check_server("serve", 3, handler, options)
  if options and options.workers ~= nil then
    local count = workers.number(options.workers)
    if not count then
      refuse(4, "serve", "option 'workers': number of threads, or 'auto', expected, got %s",
        tostring(options.workers))
    end
    return workers.serve(count, host, port, handler, options)
  end
  own.shake_hands = prepare_tls("serve", 4, options, { server_side = true })
  return server.start(on_behalf_of("serve", 4, listen, host, port, passed), handler, own)
end

--- Serves connections to a Unix socket, as `serve` and `listen_unix` do.
---
--- Raises: as `listen_unix`.
---@param path string of the socket; "@name" for an abstract one, which is no file
---@param handler async fun(stream: lilac.Stream)
---@param options? lilac.ServeUnixOptions
---@return lilac.Server
function net.serve_unix(path, handler, options)
  check_path("serve_unix", path)
  local passed = check_options("serve_unix", 3, options, UNIX_LISTEN_OPTIONS, SERVE_OPTIONS)
  check_seconds("serve_unix", 3, options, "grace")
  local own = check_server("serve_unix", 2, handler, options)
  own.shake_hands = prepare_tls("serve_unix", 3, options, { server_side = true })
  local listener = on_behalf_of("serve_unix", 3, unix.listen, path, passed)
  return server.start({ listener }, handler, own)
end

return net
