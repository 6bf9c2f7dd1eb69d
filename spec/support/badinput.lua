-- Calls every public function and method with every kind of wrong argument: run by
-- spec/core/badinput_spec.lua in a lilac of its own.
--
--    lilac spec/support/badinput.lua SEED SHARE BATCH BATCHES
--
-- Of all the calls each BATCHES-th function is taken from BATCH on, and a random SHARE (0 … 1) of
-- its arguments. Prints the name of each function before it is called, so that a crash can be
-- told; what is wrong goes to stderr, and makes the exit status 1. Files are made, and removed, in
-- the current folder.
local lilac = require "lilac"

local seed, share, batch, batches = table.unpack(arg)
math.randomseed(tonumber(seed))
share, batch, batches = tonumber(share), tonumber(batch), tonumber(batches)

local TIME = 0.01    -- seconds that a call may wait
local LIMIT = 5      -- seconds that a chunk of calls may take
local CHUNK = 250    -- calls that run at once

-- Parts of `lilac` that are for itself.
local INTERNAL = { awaitables = true, loader = true, race = true, server = true, start = true,
  thread_map = true, workers = true }

-- C modules that are public: those in Lua are found.
local MODULES = {
  "child", "dns", "errors", "fs", "net", "pipe", "process", "signal",
  "tcp", "tls", "testing", "udp", "unix",
  "stdio", "tcp", "testing", "udp", "unix",
}

-- ---- what is called
-- ------------------------------------------------------------------------------

local function noop() end

local classes = {}

classes["Task"] = function() return lilac.create_task(noop) end
classes["Task ended"] = function()
  local task = lilac.create_task(noop)
  task:await()
  return task
end
classes["Future"] = function() return lilac.Future() end
classes["Timeout"] = function() return lilac.timeout(1) end
classes["TaskGroup"] = function() return lilac.TaskGroup() end
classes["Handle"] = function() return lilac.call_later(1, noop) end
classes["ContextVar"] = function() return lilac.ContextVar "v" end
classes["Token"] = function() return lilac.ContextVar("v"):set(1) end
for _, name in ipairs { "Event", "Lock", "Condition", "Semaphore", "BoundedSemaphore", "Queue",
  "LifoQueue", "PriorityQueue" } do
  classes[name] = function() return lilac[name]() end
end
classes["Barrier"] = function() return lilac.Barrier(2) end
classes["Channel"] = function() return lilac.Channel() end
classes["ThreadPool"] = function() return lilac.ThreadPool(1) end
classes["Context"] = function() return lilac.tls.context() end
classes["Error"] = function() return lilac.errors.new("OSError", "an error") end

local net, tcp = lilac.net, lilac.tcp
local server = net.serve("127.0.0.1", 0, function(stream)
  stream:write(stream:read "l" or "")
end)

local fs = lilac.fs
classes["File"] = function() return (fs.mkstemp()) end
classes["File closed"] = function()
  local file = fs.open "/dev/null"
  file:close()
  return file
end
classes["Folder"] = function() return (fs.scandir "/") end
classes["Watcher"] = function() return (fs.watch ".") end
classes["Watcher recursive"] = function()
  fs.mkdir("watched", { exist_ok = true })
  return (fs.watch("watched", { recursive = true }))
end

classes["Listener"] = function() return tcp.listen("127.0.0.1", 0) end
classes["Stream"] = function() return net.connect("127.0.0.1", server.port) end
classes["Stream reading"] = function() return (lilac.pipe.pair()) end
classes["Stream in memory"] = function() return (lilac.testing.stream_pair()) end
classes["Stream writing"] = function() return (select(2, lilac.pipe.pair())) end
classes["Listener unix"] = function() return net.listen_unix("@lilac" .. math.random(1 << 40)) end
classes["Connections"] = function() return lilac.connections.new(noop, 1) end
classes["Server"] = function() return net.serve("127.0.0.1", 0, noop) end
classes["Socket"] = function() return net.udp { host = "127.0.0.1" } end
classes["SignalHandle"] = function() return lilac.signal.handle("URG", noop) end
classes["SignalIterator"] = function() return (lilac.signal.iter "URG") end
classes["Child"] = function() return (lilac.child.spawn { "true" }) end
classes["Process"] = function() return lilac.process.spawn { "true" } end
classes["Stream closed"] = function()
  local stream = net.connect("127.0.0.1", server.port)
  stream:close()
  return stream
end

local kinds = {}
for name in pairs(classes) do kinds[#kinds + 1] = name end
table.sort(kinds)

local function sorted_pairs(from)
  local keys = {}
  for key in pairs(from) do
    if type(key) == "string" then keys[#keys + 1] = key end
  end
  table.sort(keys)
  local i = 0
  return function()
    i = i + 1
    return keys[i], from[keys[i]]
  end
end

local targets = {}

local function add_functions(prefix, from, kind)
  for name, value in sorted_pairs(from) do
    if type(value) == "function" then
      targets[#targets + 1] = { name = prefix .. name, fn = value, kind = kind }
    end
  end
end

local function add_targets()
  for file in io.popen("ls " .. arg[0]:gsub("spec/support/.*", "lua/lilac")):lines() do
    local name = file:match "^(.*)%.lua$"
    if name and not INTERNAL[name] then local _ = lilac[name] end
  end
  for _, name in ipairs(MODULES) do
    add_functions(name .. ".", lilac[name])
  end
  local public = {}
  for name, value in sorted_pairs(lilac) do
    if not INTERNAL[name] then public[name] = value end
  end
  add_functions("lilac.", public)
  for _, kind in ipairs(kinds) do
    local meta = getmetatable(classes[kind]())
    add_functions(kind .. " meta ", meta, kind)
    local methods = meta.__index
    if type(methods) == "function" then _, methods = debug.getupvalue(methods, 1) end
    if type(methods) == "table" and methods ~= meta then
      add_functions(kind .. ":", methods, kind)
    end
  end
end

-- ---- with what
-- -----------------------------------------------------------------------------------

local OPTIONS = {
  "alpn", "append", "atomic", "attempts", "backlog", "backoff", "broadcast", "ca",
  "cancel_on_error", "capture", "cert", "check", "client_cert", "context", "cwd", "delay",
  "detached", "dir", "env", "exclusive", "exist_ok", "family", "followlinks", "grace", "group",
  "handshake_timeout", "happy_eyeballs_delay", "host", "input", "interrupt", "ipv6_only",
  "jitter", "keepalive", "kept", "key", "limit", "local_addr", "max_connections", "max_delay",
  "min_version", "mode", "multicast_interface", "nodelay", "on", "onerror", "parents",
  "passive", "password", "port", "prefix", "queue", "recursive", "return_exceptions",
  "return_when", "reuse_port", "server_hostname", "server_side", "shell", "sni", "stderr",
  "stdin", "suffix", "sync", "timeout", "tls", "ttl", "verify", "nonsense",
  "append", "atomic", "attempts", "backlog", "backoff", "broadcast", "cancel_on_error",
  "capture", "check", "cwd", "delay", "detached", "dir", "env", "exclusive", "exist_ok",
  "family", "followlinks", "grace", "group", "happy_eyeballs_delay", "host", "input",
  "interrupt", "ipv6_only", "jitter", "keepalive", "kept", "limit", "local_addr",
  "max_connections", "max_delay", "mode", "multicast_interface", "nodelay", "on", "onerror",
  "parents", "passive", "port", "prefix", "queue", "recursive", "return_exceptions",
  "return_when", "reuse_port", "shell", "stderr", "stdin", "suffix", "sync", "timeout", "ttl",
  "nonsense",
  "attempts", "backlog", "backoff", "broadcast", "cancel_on_error", "capture", "check", "cwd",
  "delay", "detached", "env", "family", "grace", "group", "happy_eyeballs_delay", "host",
  "input", "interrupt", "ipv6_only", "jitter", "keepalive", "kept", "limit", "local_addr",
  "max_connections", "max_delay", "mode", "multicast_interface", "nodelay", "on", "passive",
  "port", "queue", "return_exceptions", "return_when", "reuse_port", "shell", "stderr", "stdin",
  "timeout", "ttl", "workers", "memory", "concurrency", "nonsense",
}

local HUGE = ("x"):rep(1000000)
local NIL = {}

local closed_file = io.tmpfile()
closed_file:close()

local values = { NIL, true, false, -1, 0, 1, 0 / 0, 1 / 0, -1 / 0, 2 ^ 53, 2.0 ^ 63, -2.0 ^ 63,
  math.mininteger, math.maxinteger, 0.5, "", "a", "127.0.0.1", HUGE, "a\0b", "10", {}, { 1, 2 },
  { NIL, n = 5 }, noop, print, coroutine.create(noop), io.stdout, closed_file, lilac, lilac.errors,
  getmetatable(""), string, debug.upvalueid(add_targets, 1), { noop }, { [1.5] = 1 },
  setmetatable({}, { __len = function() return 1e9 // 1 | 0 end }),
  setmetatable({}, { __len = function() return -1 end }),
  setmetatable({}, { __index = function() error("an error of __index itself", 0) end }),
  setmetatable({}, { __call = noop }),
  setmetatable({}, { __name = "a name", __tostring = function() return 5 end }) }
for _, option in ipairs(OPTIONS) do
  for _, wrong in ipairs { NIL, -1, 0 / 0, "", 2.0 ^ 63, noop, "a\0b" } do
    values[#values + 1] = { [option] = wrong == NIL and {} or wrong }
  end
end

local function value_at(i)
  if i <= #values then
    local value = values[i]
    if value == NIL then return nil end
    return value
  end
  return classes[kinds[i - #values]]()
end

local shapes = { -- the bad value is V, an object of the method's class S
  { "V" }, { "V", 0.001 }, { "V", noop }, { "S", "V" }, { "S", "V", "V" }, { "S", noop, "V" },
  { "S", 1, "V" }, { 0.001, "V" }, { noop, "V" }, { "a", "V" }, { { noop }, "V" },
  { "127.0.0.1", 0, "V" }, { "127.0.0.1", 0, noop, "V" }, { 0.001, noop, "V" },
  { noop, 0.001, "V" },
  { "127.0.0.1", "V" }, { "OSError", "V" }, { "OSError", "a", "V" }, { "S" }, {},
}

-- ---- the calls
-- -----------------------------------------------------------------------------------

local wrong, told = 0, {}

local function complain(what, name, arguments, err)
  wrong = wrong + 1
  told[name] = (told[name] or 0) + 1
  if told[name] > 3 then return end
  local texts = {}
  for i = 1, arguments.n do
    local ok, text = pcall(tostring, arguments[i])
    text = ok and text or type(arguments[i])
    if type(arguments[i]) == "table" then
      local key, value = next(arguments[i])
      text = ("{%s=%s}"):format(tostring(key), type(value) .. " " .. tostring(value):sub(1, 20))
    end
    texts[i] = ("%q"):format(text):sub(1, 60)
  end
  io.stderr:write(("%s(%s): %s: %s\n"):format(name, table.concat(texts, ", "), what, err))
end

-- A message is some words that do not lead into lilac itself.
local function check_message(name, arguments, err)
  for i = 1, arguments.n do
    if err ~= err or rawequal(err, arguments[i]) then return end -- an error that was to be raised
  end
  if type(err) ~= "string" and not lilac.errors.is(err, "Error") then
    return complain("the error is no error", name, arguments, type(err))
  end
  local text = tostring(err)
  local _, words = text:gsub("%a+", "")
  if words < 3 then complain("the message is too short", name, arguments, text) end
  if text:find "src/" or text:find "%[lilac[%.%w_]*%]:%d" or text:find "lua/lilac" then
    complain("the message shows internals", name, arguments, text)
  end
end

local function call(target, shape, index)
  local arguments, subject = { n = #shape }, nil
  for i, what in ipairs(shape) do
    if what == "S" then subject = target.kind and classes[target.kind]() end
    if what == "V" then arguments[i] = value_at(index)
    elseif what == "S" then arguments[i] = subject
    else arguments[i] = what end
  end
  local finished = table.pack(pcall(lilac.move_on_after, TIME, function()
    local results = table.pack(target.fn(table.unpack(arguments, 1, arguments.n)))
    if type(results[1]) == "function" and results[1] ~= noop and results[1] ~= print then
      results[1]() -- an iterator, a decorated function, …
    end
  end))
  if not finished[1] then check_message(target.name, arguments, finished[2]) end
  if subject and target.kind == "Server" then pcall(subject.close, subject) end -- lives until then
end

local function swallow() end

local function run_chunk(calls)
  if #calls == 0 then return end
  local began = lilac.time()
  local tasks = {}
  for i, one in ipairs(calls) do
    tasks[i] = lilac.create_task(call, table.unpack(one))
  end
  lilac.wait(tasks, { timeout = LIMIT })
  lilac.set_exception_handler(swallow)
  lilac.set_debug(false)
  for _, task in ipairs(tasks) do
    if not task:done() then
      io.stderr:write("a call does not end:\n", task:traceback(), "\n")
      os.exit(1)
    end
    if not task:cancelled() then task:exception() end
  end
  if lilac.time() - began > LIMIT then
    io.stderr:write(("%s took %g s\n"):format(calls[1][1].name, lilac.time() - began))
    os.exit(1)
  end
end

-- Whether lilac still does what it should.
local function check_sanity()
  local queue = lilac.Queue(1)
  local results = { lilac.gather(
    function() for i = 1, 3 do queue:put(i) end queue:shutdown() return 1 end,
    function() local sum = 0 for item in queue:iter() do sum = sum + item end return sum end,
    function() return (select(2, pcall(lilac.timeout, 0.001, lilac.sleep, 1)).name) end,
    function()
      local stream <close> = net.connect("127.0.0.1", server.port)
      stream:write "hello\n"
      return stream:read "a"
    end) }
  local text = table.concat(results, " ")
  if text ~= "1 6 TimeoutError hello" then error("lilac is out of order: " .. text) end
end

lilac.create_task(add_targets):await() -- the scopes that it enters end with the task
lilac.set_exception_handler(swallow)
for i = batch, #targets, batches do
  local target = targets[i]
  print(target.name)
  io.stdout:flush()
  local calls = {}
  for _, shape in ipairs(shapes) do
    for index = 1, #values + #kinds do
      if math.random() <= share then calls[#calls + 1] = { target, shape, index } end
      if #calls == CHUNK then
        run_chunk(calls)
        calls = {}
      end
    end
  end
  run_chunk(calls)
  check_sanity()
end
os.exit(wrong == 0 and 0 or 1)
