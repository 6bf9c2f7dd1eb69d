--- TCP connections and servers. Streams and sockets are C (lilac.tcp, see lua/meta/net.lua); here
--- names are resolved, addresses tried, and connections handed to their tasks.

local lilac = require "lilac"
local dns = require "lilac.dns"
local race = require "lilac.race"
local tcp = require "lilac.tcp"

local ATTEMPT_DELAY = 0.25 -- seconds that an address has for itself (RFC 8305, section 8)
local ACCEPT_PAUSE = 1 -- seconds, after an error such as "too many open files"

local CONNECTION_OPTIONS = { "nodelay", "keepalive", "limit" }
local CONNECT_OPTIONS = { "local_addr", table.unpack(CONNECTION_OPTIONS) }
local RACE_OPTIONS = { "timeout", "happy_eyeballs_delay" }
local LISTEN_OPTIONS = { "backlog", "reuse_port", table.unpack(CONNECTION_OPTIONS) }

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

local function check_server(handler, most)
  local meta = getmetatable(handler)
  if type(handler) ~= "function" and not (type(meta) == "table" and meta.__call) then
    refuse(3, "serve", "function expected, got %s", type(handler))
  end
  if most ~= nil and not (math.type(most) == "integer" and most > 0) then
    refuse(4, "serve", "option 'max_connections': positive integer expected, got %s",
      tostring(most))
  end
end

local function connect(host, port, options, delay)
  local addresses = dns.getaddrinfo(host, port)
  return race(("%s:%d"):format(host, port), addresses, delay, tcp.connect, options)
end

--- Connects to a TCP server. The addresses of a name are raced, as RFC 8305 ("happy eyeballs")
--- says: one that does not answer costs a quarter of a second.
---
--- Raises: DNSError; ConnectionRefusedError and other children of OSError, of the class that the
--- failures at all addresses share, which are in `errors`; TimeoutError.
---@async
---@param host string name or numeric address
---@param port integer
---@param options? lilac.ConnectOptions
---@return lilac.Stream
function net.connect(host, port, options)
  check_address("connect", host, port, 1)
  local passed = check_options("connect", 3, options, CONNECT_OPTIONS, RACE_OPTIONS)
  local timeout = check_seconds("connect", 3, options, "timeout")
  local delay = check_seconds("connect", 3, options, "happy_eyeballs_delay") or ATTEMPT_DELAY
  if not timeout then return connect(host, port, passed, delay) end
  local is_in_time, stream = lilac.move_on_after(timeout, connect, host, port, passed, delay)
  if not is_in_time then
    error(lilac.errors.new("TimeoutError",
      ("connect %s:%d: no connection within %g s"):format(host, port, timeout)))
  end
  return stream
end

net.udp = require("lilac.udp").open

--- A machine without IPv6 may still resolve to an IPv6 address.
local function is_unavailable(err)
  return lilac.errors.is(err, "OSError")
    and (err.code == "EADDRNOTAVAIL" or err.code == "EAFNOSUPPORT")
end

--- Listens on every address of a host, all with the same port; on the first one only for `most` 1.
local function listen(host, port, options, most)
  local listeners, failure = {}, nil
  for _, at in ipairs(dns.getaddrinfo(host, port, { passive = true })) do
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
  return listen(host, port, passed, 1)[1]
end

---@class lilac.Server
---@field port integer where it listens
local Server = { __name = "Server" }
Server.__index = Server

--- Methods are called as server:close(): anything else has no fields of a Server.
local function check_self(self, name)
  if getmetatable(self) ~= Server then
    error(("bad argument #1 to '%s' (Server expected, got %s)"):format(name, type(self)), 3)
  end
end

function Server:__tostring()
  check_self(self, "tostring")
  return ("Server (port %d, %d connections)"):format(self.port, self._count)
end

--- In a callback, when a handler has ended.
local function connection_over(server, task)
  local stream = server._connections[task]
  server._connections[task] = nil
  server._count = server._count - 1
  stream:close()
  if server._slots then server._slots:release() end
  if server._count == 0 then server._idle:set() end
  local err = not task:cancelled() and task:exception()
  if err then
    lilac.call_exception_handler {
      message = task.name .. ": the handler failed",
      exception = err,
      task = task,
    }
  end
end

local function connection_begin(server, stream)
  local task = lilac.create_task(server._handler, stream)
  task.name = ("connection from %s:%d"):format(stream:peername())
  server._connections[task] = stream
  server._count = server._count + 1
  server._idle:clear()
  task:add_done_callback(server._over)
end

--- The task that accepts. Without a free slot it does not, and connections wait in the backlog.
local function accept_all(server, listener)
  while true do
    if server._slots then server._slots:acquire() end
    local ok, result = pcall(listener.accept, listener)
    if ok then
      connection_begin(server, result)
    elseif lilac.errors.is(result, "ClosedError") then
      return
    else
      if server._slots then server._slots:release() end
      lilac.call_exception_handler {
        message = ("%s: trying again in %g s"):format(server, ACCEPT_PAUSE),
        exception = result,
      }
      lilac.sleep(ACCEPT_PAUSE)
    end
  end
end

--- Serves TCP connections: each gets a task that runs `handler(stream)`; its stream is closed after
--- it. A handler's error is reported, and ends only its connection. The server runs until it is
--- closed; leaving its scope closes it and waits for the handlers; when an error or a cancellation
--- leaves the scope, it cancels them first.
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
  local passed = check_options("serve", 4, options, LISTEN_OPTIONS, { "max_connections" })
  local most = options and options.max_connections
  check_server(handler, most)
  local listeners = listen(host, port, passed)
  local server = setmetatable({
    port = listeners[1].port,
    _handler = handler,
    _listeners = listeners,
    _acceptors = {},
    _connections = {}, -- task → stream
    _count = 0,
    _slots = most and lilac.Semaphore(most),
    _idle = lilac.Event(),
    _stopped = lilac.Event(),
  }, Server)
  server._over = function(task) connection_over(server, task) end
  server._idle:set()
  for i, listener in ipairs(listeners) do
    local task = lilac.create_task(accept_all, server, listener)
    task.name = ("server on %s:%d"):format(listener.host, listener.port)
    server._acceptors[i] = task
  end
  return server
end

--- Stops accepting. The connections go on. Closing twice is fine.
function Server:close()
  check_self(self, "close")
  for _, listener in ipairs(self._listeners) do listener:close() end
  for _, task in ipairs(self._acceptors) do task:cancel() end
  self._stopped:set()
end

--- Waits until the server is closed and all its handlers have ended.
---@async
function Server:wait_closed()
  check_self(self, "wait_closed")
  self._stopped:wait()
  self._idle:wait()
end

--- Waits until another task closes the server, then for the handlers. Cancelled, it closes the
--- server and cancels the handlers.
---@async
function Server:serve_forever()
  check_self(self, "serve_forever")
  local _ <close> = self
  self._stopped:wait()
end

function Server:__close(err)
  check_self(self, "close")
  self:close()
  if err ~= nil then
    for task in pairs(self._connections) do task:cancel() end
  end
  self:wait_closed()
end

return net
