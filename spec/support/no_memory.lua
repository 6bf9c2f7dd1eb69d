-- A program that uses much of lilac: run by spec/core/no_memory_spec.lua in a lilac of its own,
-- with memory that is refused at some point. Each part is tried by itself; whatever fails, the next
-- one is to work, or to fail with an error.
local lilac = require "lilac"

local parts = {}

function parts.tasks()
  local queue = lilac.Queue(2)
  local group <close> = lilac.TaskGroup()
  group:create_task(function()
    for i = 1, 20 do queue:put(i) end
    queue:shutdown()
  end)
  for _ = 1, 3 do
    group:create_task(function() for _ in queue:iter() do lilac.sleep(0) end end)
  end
end

function parts.cancellation()
  local task = lilac.create_task(lilac.sleep, 3600)
  lilac.sleep(0)
  task:cancel "enough"
  pcall(task.await, task)
  pcall(lilac.timeout, 0.001, lilac.sleep, 3600)
  lilac.move_on_after(0.001, lilac.sleep, 3600)
  pcall(lilac.shield, lilac.create_task(lilac.sleep, 0))
end

function parts.gather()
  lilac.gather({ function() return 1, 2 end, function() error "no" end, lilac.sleep },
    { return_exceptions = true })
  lilac.wait({ lilac.create_task(lilac.sleep, 0), lilac.Future() },
    { return_when = "FIRST_COMPLETED" })
  for task in lilac.as_completed { lilac.create_task(lilac.sleep, 0) } do task:await() end
end

function parts.synchronisation()
  local _ <close> = lilac.Lock():acquire()
  local _ <close> = lilac.Semaphore(1):acquire()
  local queue = lilac.PriorityQueue()
  for i = 1, 20 do queue:put_nowait(-i) end
  while not queue:empty() do queue:get() end
  local variable = lilac.ContextVar "variable"
  variable:set(1)
  lilac.call_later(0, function() end)
  for _ in lilac.generator(function() for i = 1, 3 do coroutine.yield(i) end end) do
    lilac.sleep(0)
  end
end

local function echo(stream)
  for line in stream:lines() do stream:write(line, "\n") end
end

local function ask(stream)
  local _ <close> = stream
  for _, text in ipairs { "hello", ("x"):rep(20000) } do
    stream:write(text, "\n")
    stream:read()
  end
end

function parts.tcp()
  local server <close> = lilac.net.serve("127.0.0.1", 0, echo)
  lilac.gather(function() ask(lilac.net.connect("127.0.0.1", server.port)) end,
    function() ask(lilac.net.connect("127.0.0.1", server.port)) end)
end

function parts.unix_sockets()
  local server <close> = lilac.net.serve_unix("@lilac-no-memory-" .. math.random(1 << 40), echo)
  ask(lilac.net.connect_unix(server.path))
end

function parts.udp()
  local socket <close> = lilac.net.udp { host = "127.0.0.1", port = 0 }
  socket:send("hello", "127.0.0.1", socket.port)
  socket:recv()
end

function parts.files()
  local path = os.tmpname()
  local _ <close> = setmetatable({}, { __close = function() os.remove(path) end })
  lilac.fs.write_file(path, ("line\n"):rep(3000))
  assert(#lilac.fs.read_file(path) == 15000)
  local file <close> = lilac.fs.open(path)
  for _ in file:lines() do end
  lilac.fs.stat(path)
  for _ in lilac.fs.scandir "spec" do end
end

function parts.processes()
  lilac.process.run { "cat", input = "hello", capture = true }
end

function parts.threads()
  lilac.to_thread(function(list) return #list end, { 1, 2, 3 })
  local channel = lilac.Channel(1)
  channel:put { 1 }
  channel:get()
end

function parts.errors()
  tostring(lilac.errors.new("OSError", "no", { code = "ENOENT" }))
  lilac.dump()
  debug.traceback()
end

local order = {}
for name in pairs(parts) do order[#order + 1] = name end
table.sort(order)
for _, name in ipairs(order) do
  local ok, err = pcall(lilac.timeout, 1, parts[name])
  if not ok then io.stderr:write(name, ": ", tostring(err), "\n") end
end
print "done"
