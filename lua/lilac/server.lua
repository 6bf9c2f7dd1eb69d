--- Servers: what lilac.net.serve and serve_unix return. A task for each listener accepts; each
--- connection gets one of its own (lilac.connections, in C).

local lilac = require "lilac"
local connections = require "lilac.connections"

local FIRST_PAUSE, LAST_PAUSE = 0.05, 1 -- seconds, after errors such as "too many open files"
local REPORT_EVERY = 60 -- seconds

local server = {}

-- ---- what all servers have in common -----------------------------------------------------------

--- A class of servers; and a function that checks the `self` of its methods. It has yet to get
--- the methods `close`, `cancel_handlers` and `wait_closed`, and its objects the fields `_stopped`,
--- an Event that says that the server was closed, and `_grace`.
function server.class()
  local Server = { __name = "Server" }
  Server.__index = Server

  --- Methods are called as server:close(): anything else has no fields of a Server.
  local function check_self(self, name)
    if getmetatable(self) ~= Server then
      error(("bad argument #1 to '%s' (Server expected, got %s)"):format(name, type(self)), 3)
    end
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

  return Server, check_self
end

-- ---- a server on this loop ---------------------------------------------------------------------

---@class lilac.Server
---@field port? integer where it listens
---@field path? string where it listens, of a Unix socket
local Server, check_self = server.class()

function Server:__tostring()
  check_self(self, "tostring")
  local where = self.path or "port " .. self.port
  return ("Server (%s, %d connections)"):format(where, self._connections:count())
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

--- What the task of a connection is called; nil: what connections over TCP are.
local function name_of(self, stream)
  if not self.path then return nil end
  return ("connection to %s from process %d"):format(self.path, (stream:peercred()))
end

--- Waits for a connection, and then for room, as there may be other listeners who want it too:
--- until then it stays in the backlog.
local function accept_with_room(self, listener)
  listener:wait()
  self._connections:admit()
  local ok, result = lilac.pcall(listener.accept, listener)
  if ok then return result end
  self._connections:dismiss()
  error(result, 0)
end

--- An error that may last is told once a minute, however often it comes.
local function accept_failed(self, err)
  local now = lilac.time()
  if now - self._reported < REPORT_EVERY then return end
  self._reported = now
  lilac.call_exception_handler {
    message = tostring(self) .. ": accepts no connection for now, and tries again",
    exception = err,
  }
end

--- An iterator over connections, until the listener is closed.
local function incoming(self, listener)
  if not self._has_door then return listener:incoming() end
  return function() return accept_with_room(self, listener) end
end

--- Closes a connection that was accepted, and for whose task there was no memory.
local function give_up(self, stream)
  stream:close()
  if self._has_door then self._connections:dismiss() end
end

--- A listener that nobody accepts from is closed, so that clients do not wait for ever.
local function accept_all(self, listener)
  local _ <close> = listener
  local pause, accepted = FIRST_PAUSE, nil
  local function accept_while_able()
    for stream in incoming(self, listener) do
      accepted = stream
      self._connections:begin(stream, name_of(self, stream))
      pause, accepted = FIRST_PAUSE, nil
    end
  end
  while true do
    local ok, err = pcall(accept_while_able)
    if ok or lilac.errors.is(err, "ClosedError") then return end
    if accepted then give_up(self, accepted) end
    accepted = nil
    accept_failed(self, err)
    lilac.sleep(pause)
    pause = math.min(2 * pause, LAST_PAUSE)
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
  for _, task in ipairs(self._connections:tasks()) do
    task:cancel "the server ends its connections"
  end
end

--- Waits until the server is closed and all its handlers have ended.
---@async
function Server:wait_closed()
  check_self(self, "wait_closed")
  self._stopped:wait()
  self._connections:wait()
  if self._deadline then self._deadline:cancel() end
end

local function address_text(host, port)
  return (host:find(":", 1, true) and "[%s]:%d" or "%s:%d"):format(host, port)
end

--- Starts to serve: for lilac.net, which has checked everything.
---@param listeners lilac.Listener[]
---@param handler async fun(stream: lilac.Stream)
---@param options { max_connections?: integer, grace?: number, shake_hands?: function }
---@return lilac.Server
function server.start(listeners, handler, options)
  if options.shake_hands then handler = after_handshake(options.shake_hands, handler) end
  local self = setmetatable({
    port = listeners[1].port,
    path = listeners[1].path,
    _grace = options.grace,
    _listeners = listeners,
    _acceptors = {},
    _connections = connections.new(handler, options.max_connections),
    _has_door = options.max_connections ~= nil,
    _stopped = lilac.Event(),
    _reported = -math.huge,
  }, Server)
  for i, listener in ipairs(listeners) do
    local task = lilac.create_task(accept_all, self, listener)
    task.name = "server on " .. (listener.path or address_text(listener.host, listener.port))
    self._acceptors[i] = task
  end
  return self
end

return server
