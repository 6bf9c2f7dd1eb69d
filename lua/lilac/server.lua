--- Servers: what lilac.net.serve and serve_unix return. A task for each listener accepts; each
--- connection gets one of its own.

local lilac = require "lilac"

local FIRST_PAUSE, LAST_PAUSE = 0.05, 1 -- seconds, after errors such as "too many open files"
local REPORT_EVERY = 60 -- seconds

---@class lilac.Server
---@field port? integer where it listens
---@field path? string where it listens, of a Unix socket
local Server = { __name = "Server" }
Server.__index = Server

--- Methods are called as server:close(): anything else has no fields of a Server.
local function check_self(self, name)
  if getmetatable(self) ~= Server then
    error(("bad argument #1 to '%s' (Server expected, got %s)"):format(name, type(self)), 3)
  end
end

local function address_text(host, port)
  return (host:find(":", 1, true) and "[%s]:%d" or "%s:%d"):format(host, port)
end

function Server:__tostring()
  check_self(self, "tostring")
  return ("Server (%s, %d connections)"):format(self.path or "port " .. self.port, self._count)
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

--- A handler of connections in TLS. Whoever is slow at the handshake only keeps its own task
--- waiting. That it fails is no fault of the handler, and often the work of who looks for open
--- doors: a line, and no traceback.
local function after_handshake(shake_hands, handler)
  return function(stream)
    local ok, err = pcall(shake_hands, stream)
    if ok then return handler(stream) end
    local task = lilac.current_task()
    lilac.call_exception_handler {
      message = task.name .. ": the TLS handshake failed",
      exception = err,
      traceback = false,
      task = task,
    }
  end
end

local function connection_begin(server, stream)
  local task = lilac.create_task(server._handler, stream)
  if server.path then
    task.name = ("connection to %s from process %d"):format(server.path, (stream:peercred()))
  else
    task.name = "connection from " .. address_text(stream:peername())
  end
  server._connections[task] = stream
  server._count = server._count + 1
  server._idle:clear()
  task:add_done_callback(server._over)
end

--- Waits for a connection. Without a free slot it is left in the backlog; one is taken only when a
--- connection is there, as the other listeners of the server want slots too.
local function accept(server, listener)
  if not server._slots then return listener:accept() end
  listener:wait()
  local slot = server._slots:acquire()
  local ok, result = pcall(listener.accept, listener)
  if ok then return result end
  slot:release()
  error(result, 0)
end

--- An error that may last is told once a minute, however often it comes.
local function accept_failed(server, err)
  local now = lilac.time()
  if now - server._reported < REPORT_EVERY then return end
  server._reported = now
  lilac.call_exception_handler {
    message = tostring(server) .. ": accepts no connection for now, and tries again",
    exception = err,
  }
end

local function accept_all(server, listener)
  local pause = FIRST_PAUSE
  while true do
    local ok, result = pcall(accept, server, listener)
    if ok then
      connection_begin(server, result)
      pause = FIRST_PAUSE
    elseif lilac.errors.is(result, "ClosedError") then
      return
    else
      accept_failed(server, result)
      lilac.sleep(pause)
      pause = math.min(2 * pause, LAST_PAUSE)
    end
  end
end

--- Stops accepting. The connections go on, though with the option `grace` not longer than that.
--- Closing twice is fine.
function Server:close()
  check_self(self, "close")
  if self._stopped:is_set() then return end
  for _, listener in ipairs(self._listeners) do listener:close() end
  for _, task in ipairs(self._acceptors) do task:cancel() end
  self._stopped:set()
  if self._grace then self._deadline = lilac.call_later(self._grace, self.cancel_handlers, self) end
end

--- Cancels the handlers of all connections that there are.
function Server:cancel_handlers()
  check_self(self, "cancel_handlers")
  for task in pairs(self._connections) do task:cancel "the server ends its connections" end
end

--- Waits until the server is closed and all its handlers have ended.
---@async
function Server:wait_closed()
  check_self(self, "wait_closed")
  self._stopped:wait()
  self._idle:wait()
  if self._deadline then self._deadline:cancel() end
end

--- Waits until another task closes the server, then for the handlers. Cancelled, it closes the
--- server and cancels the handlers: at once, or at the end of the `grace`.
---@async
function Server:serve_forever()
  check_self(self, "serve_forever")
  local _ <close> = self
  self._stopped:wait()
end

--- A cancellation of the waiting itself cancels the handlers, and is raised when they have ended.
function Server:__close(err)
  check_self(self, "close")
  self:close()
  if err ~= nil and not self._grace then self:cancel_handlers() end
  local ok, failure = lilac.pcall(self.wait_closed, self)
  if ok then return end
  self:cancel_handlers()
  self:wait_closed()
  error(failure, 0)
end

local server = {}

--- Starts to serve: for lilac.net, which has checked everything.
---@param listeners lilac.Listener[]
---@param handler async fun(stream: lilac.Stream)
---@param options { max_connections?: integer, grace?: number, shake_hands?: function }
---@return lilac.Server
function server.start(listeners, handler, options)
  local self = setmetatable({
    port = listeners[1].port,
    path = listeners[1].path,
    _handler = options.shake_hands and after_handshake(options.shake_hands, handler) or handler,
    _grace = options.grace,
    _listeners = listeners,
    _acceptors = {},
    _connections = {}, -- task → stream
    _count = 0,
    _slots = options.max_connections and lilac.Semaphore(options.max_connections),
    _idle = lilac.Event(),
    _stopped = lilac.Event(),
    _reported = -math.huge,
  }, Server)
  self._over = function(task) connection_over(self, task) end
  self._idle:set()
  for i, listener in ipairs(listeners) do
    local task = lilac.create_task(accept_all, self, listener)
    task.name = "server on " .. (listener.path or address_text(listener.host, listener.port))
    self._acceptors[i] = task
  end
  return self
end

return server
