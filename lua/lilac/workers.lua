--- The same on several loops, each in a thread of its own: lilac.net.serve(…, {workers = n}), and
--- `lilac --workers n script.lua`. A worker that fails is reported and started again, in a new
--- thread with a new Lua state; after a pause that doubles, and not when it fails again and again
--- from the start.

local lilac = require "lilac"
local server = require "lilac.server"

local FIRST_PAUSE, LAST_PAUSE = 0.1, 10 -- seconds before a worker is started again
local SETTLED = 1   -- seconds after which it has begun well
local QUICK_ENDS = 5 -- so many times in a row it may fail before that
local MOST = 1024

local workers = {}

--- Which of the workers of --workers this program is, and of how many; nil in all others.
---@type integer?, integer?
workers.current, workers.count = nil, nil

--- The option `workers`: a number, or "auto" for one per core; nil when it is neither.
function workers.number(value)
  if value == "auto" then return lilac.cpu_count() end
  if math.type(value) == "integer" and value >= 1 and value <= MOST then return value end
  return nil
end

--- Has a job done in a thread of its own → ok, its error, the traceback of that.
local function run_once(name, job, ...)
  local pool <close> = lilac.ThreadPool(1)
  local task = pool:submit(job, ...)
  task.name = name
  local ok, err = pcall(task.await, task)
  return ok, err, not ok and task:traceback() or nil
end

--- Runs a worker until it returns, and again when it fails, until the Event `worker.over`. Its
--- error is raised when that comes too quickly too often, when it is over, or before has_begun().
local function keep(worker, job, ...)
  local pause, quick = FIRST_PAUSE, 0
  while true do
    local began = lilac.time()
    local ok, err, traceback = run_once(worker.name, job, ...)
    if ok then return end
    if worker.over:is_set() or not worker.has_begun() then error(err, 0) end
    if lilac.time() - began >= SETTLED then pause, quick = FIRST_PAUSE, 0 end
    quick = quick + 1
    if quick == QUICK_ENDS then error(err, 0) end
    lilac.call_exception_handler {
      message = ("%s failed, and is started again in %g s"):format(worker.name, pause),
      exception = err,
      traceback = traceback,
    }
    if lilac.move_on_after(pause, worker.over.wait, worker.over) then return end
    pause = math.min(2 * pause, LAST_PAUSE)
  end
end

-- ---- programs ----------------------------------------------------------------------------------

--- In a thread: what `lilac script.lua` does.
local function program(number, count, start, command)
  local here = require "lilac.workers"
  here.current, here.count = number, count
  return start(command)
end

--- The main program of `lilac --workers`. `start(command)` is a function of the interpreter. When
--- one worker has come to its end, none is started again: they end together.
function workers.main(count, start, command)
  local group <close> = lilac.TaskGroup()
  local over = lilac.Event()
  local function has_begun() return true end
  for i = 1, count do
    local worker = { name = "worker " .. i, over = over, has_begun = has_begun }
    local task = group:create_task(function()
      keep(worker, program, i, count, start, command)
      over:set()
    end)
    task.name = worker.name
  end
end

-- ---- servers -----------------------------------------------------------------------------------

---@class lilac.WorkerServer: lilac.Server
local Server, check_self = server.class()

function Server:__tostring()
  check_self(self, "tostring")
  return ("Server (port %d, %d workers)"):format(self.port, #self._tasks)
end

--- In a thread: serves until it is told to close. What comes over `control` are names of methods.
local function serve(at, handler, control, ready)
  local own <close> = lilac.net.serve(at.host, at.port, handler, at.options)
  ready:put(own.port)
  local listens <close> = lilac.create_task(function()
    for method in control:iter() do own[method](own) end
  end)
  listens.name = "what the server's owner wants"
  own:wait_closed()
end

--- Starts a worker and waits until it listens; raises when it cannot.
local function start_worker(self, host, handler, options)
  local control, ready = lilac.Channel(), lilac.Channel()
  local listens <close> = lilac.create_task(ready.get, ready)
  local worker = {
    name = ("worker %d of the server"):format(#self._tasks + 1),
    over = self._stopped,
    has_begun = function() return listens:done() end,
  }
  local at = { host = host, port = self.port, options = options }
  local task = lilac.create_task(keep, worker, serve, at, handler, control, ready)
  task.name = worker.name
  task:add_done_callback(self._over)
  table.insert(self._tasks, task)
  table.insert(self._controls, control)
  lilac.wait({ listens, task }, { return_when = "FIRST_COMPLETED" })
  if not listens:done() then task:await() end
  self.port = listens:result()
  at.port = self.port -- where it is to listen again
end

local function tell_all(self, method)
  for _, control in ipairs(self._controls) do control:put_nowait(method) end
end

function Server:close()
  check_self(self, "close")
  if self._stopped:is_set() then return end
  self._stopped:set()
  tell_all(self, "close")
end

function Server:cancel_handlers()
  check_self(self, "cancel_handlers")
  tell_all(self, "cancel_handlers")
end

function Server:wait_closed()
  check_self(self, "wait_closed")
  self._stopped:wait()
  lilac.wait(self._tasks)
  for _, task in ipairs(self._tasks) do task:await() end
end

--- Starts a server with several workers: for lilac.net, which has checked everything. Each has a
--- copy of the handler, and its share of the connections.
---@param count integer
---@param host? string
---@param port integer
---@param handler async fun(stream: lilac.Stream)
---@param options lilac.ServeOptions
---@return lilac.Server
function workers.serve(count, host, port, handler, options)
  local self = setmetatable({
    port = port,
    _grace = options.grace,
    _tasks = {},
    _controls = {},
    _stopped = lilac.Event(),
  }, Server)
  self._over = function() self:close() end -- one was given up: wait_closed tells why
  local most = options.max_connections
  local shared = { reuse_port = true, max_connections = most and math.ceil(most / count) }
  for option, value in pairs(options) do
    if option ~= "workers" and shared[option] == nil then shared[option] = value end
  end
  local ok, err = lilac.pcall(function()
    for _ = 1, count do start_worker(self, host, handler, shared) end
  end)
  if ok then return self end
  for _, task in ipairs(self._tasks) do task:cancel() end
  for _, task in ipairs(self._tasks) do lilac.wait { task } end
  error(err, 0)
end

return workers
