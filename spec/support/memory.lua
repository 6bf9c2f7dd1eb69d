-- Rounds of work that must leave nothing behind: run by spec/core/memory_spec.lua in a lilac of
-- its own.
--
--    lilac spec/support/memory.lua WORK SIZE
--
-- Does rounds of SIZE pieces of work. After the first rounds the memory in use and the size of the
-- process must not grow any more, and the descriptors and tasks be as many as before.
local lilac = require "lilac"

local what, size = arg[1], tonumber(arg[2])

local WARM_UP, ROUNDS = 4, 6
local LUA_SLACK, RSS_SLACK = 64, 4096 -- KiB

local function noop() end

local works = {}

function works.tasks()
  for _ = 1, size / 100 do
    local tasks = {}
    for i = 1, 100 do tasks[i] = lilac.create_task(noop) end
    lilac.gather(tasks)
  end
end

function works.timeouts()
  for i = 1, size do
    local _ <close> = lilac.timeout(1000)
    if i % 100 == 0 then lilac.sleep(0) end
  end
end

function works.expired()
  for _ = 1, size / 100 do pcall(lilac.timeout, 0, lilac.sleep, 1) end
end

function works.cancels()
  for _ = 1, size / 100 do
    local tasks = {}
    for i = 1, 100 do tasks[i] = lilac.create_task(lilac.sleep, 1000) end
    lilac.sleep(0)
    for i = 1, 100 do tasks[i]:cancel("no more") end
    lilac.wait(tasks)
  end
end

function works.queues()
  for _ = 1, size / 100 do
    local queue = lilac.PriorityQueue(10)
    lilac.gather(
      function() for i = 1, 100 do queue:put(i) end queue:shutdown() end,
      function() for _ in queue:iter() do queue:task_done() end end)
  end
end

function works.groups()
  for _ = 1, size / 100 do
    pcall(function()
      local group <close> = lilac.TaskGroup()
      for _ = 1, 10 do group:create_task(lilac.sleep, 1000) end
      lilac.sleep(0)
      error "oops"
    end)
  end
end

function works.callbacks()
  for _ = 1, size / 100 do
    local future = lilac.Future()
    for _ = 1, 50 do future:add_done_callback(noop) end
    for _ = 1, 25 do lilac.call_later(1000, noop):cancel() end
    for _ = 1, 25 do lilac.call_soon(noop) end
    future:set_result()
    lilac.sleep(0)
  end
end

-- What is left behind in coroutines that nobody ends.
function works.abandoned()
  local lock = lilac.Lock()
  for _ = 1, size / 100 do
    lilac.create_task(function()
      for _ = 1, 5 do
        coroutine.wrap(function()
          local _ <close> = lilac.timeout(1000)
          local group <close> = lilac.TaskGroup()
          coroutine.yield(group)
        end)()
      end
      local _ <close> = lock:acquire()
    end):await()
  end
end

local variable = lilac.ContextVar("v", 0)

function works.coroutines()
  for _ = 1, size / 100 do
    for i in lilac.generator(function()
      variable:set(variable:get() + 1)
      for i = 1, 100 do coroutine.yield(i) end
    end) do
      if i == 50 then break end
      lilac.sleep(0)
    end
  end
end

-- Coroutines of all depths, among strings as large as their parts, come and go in no order.
function works.depths()
  local function dive(depth, mark)
    local a, b = mark + depth, mark - depth
    local told = depth > 0 and dive(depth - 1, mark) or coroutine.yield(mark)
    assert(a == mark + depth and b == mark - depth)
    return told
  end
  local dived, texts = {}, {}
  for i = 1, size do
    local place = math.random(size // 20)
    local co, text = dived[place], texts[place]
    if co then
      assert(select(2, coroutine.resume(co, i)) == i)
      dived[place] = nil
    else
      dived[place] = coroutine.create(dive)
      assert(select(2, coroutine.resume(dived[place], math.random(0, 12), place)) == place)
    end
    assert(not text or not text:find "[^%d]")
    texts[place] = tostring(i % 10):rep(({ 36, 180, 690 })[i % 3 + 1] + place % 3)
  end
end

function works.errors()
  for _ = 1, size / 100 do
    local task = lilac.create_task(error, "oops")
    pcall(task.await, task)
    pcall(lilac.gather, noop, error)
    lilac.sleep(0)
  end
end

local server, port

function works.streams()
  for _ = 1, size / 100 do
    local stream <close> = lilac.net.connect("127.0.0.1", port)
    stream:write(("x"):rep(10000), "\n")
    assert(#stream:read "l" == 10000)
    if math.random(10) == 1 then
      lilac.net.connect("127.0.0.1", port) -- left to the collector
    end
  end
end

function works.unix_sockets()
  for _ = 1, size / 100 do
    local name = "@lilac-memory-" .. math.random(1 << 40)
    local one <close> = lilac.net.serve_unix(name, function(stream) stream:read "a" end)
    local stream <close> = lilac.net.connect_unix(name)
    stream:write(("x"):rep(10000))
    if math.random(10) == 1 then lilac.net.connect_unix(name) end -- left to the collector
    stream:shutdown()
    assert(not stream:read())
    one:cancel_handlers()
  end
end

-- Some of them with much that nobody reads.
function works.pairs()
  for i = 1, size / 100 do
    local make = i % 2 == 0 and lilac.testing.stream_pair or lilac.pipe.pair
    local b, a = make()
    local task = lilac.create_task(pcall, a.write, a, ("0123456789"):rep(20000))
    assert(b:read(1000))
    if math.random(2) == 1 then b:close() end
    if math.random(2) == 1 then a:close() end
    task:cancel()
  end
end

function works.listeners()
  for _ = 1, size / 100 do
    local listener <close> = lilac.net.listen("127.0.0.1", 0)
    local task = lilac.create_task(listener.accept, listener)
    lilac.sleep(0)
    task:cancel()
  end
end

local dir

-- Some of it is cancelled in the middle, or left to the collector.
function works.files()
  local fs = lilac.fs
  dir = dir or fs.mkdtemp { dir = "/dev/shm" }
  for i = 1, size / 100 do
    local path = dir .. "/" .. i % 10
    fs.write_file(path, ("line\n"):rep(1000), { sync = false })
    local file <close> = fs.open(path, "a+")
    file:read()
    file:write "more\n"
    assert(#fs.read_file(path) >= 5000)
    fs.scandir(dir)()
    fs.open(path, "a"):write "left"
    local tasks = { lilac.create_task(file.read, file, "a"),
      lilac.create_task(fs.write_file, path, "x", { sync = false }),
      lilac.create_task(fs.mkstemp, { dir = dir }), lilac.create_task(fs.read_file, path),
      lilac.create_task(fs.scandir, dir), lilac.create_task(fs.watch(dir)) }
    lilac.sleep(0)
    for _, task in ipairs(tasks) do task:cancel() end
    lilac.wait(tasks)
    if i % 20 == 0 then
      collectgarbage()
      fs.rmtree(dir)
      fs.mkdir(dir)
    end
  end
end

local function descriptors()
  local count = 0
  for _ in lilac.fs.scandir "/proc/self/fd" do count = count + 1 end
  return count
end

local function rss()
  local file = io.open "/proc/self/statm"
  local pages = tonumber(file:read("l"):match "^%d+ (%d+)")
  file:close()
  return pages * 4
end

local function measure()
  for _ = 1, 3 do
    lilac.sleep(0.001)
    collectgarbage()
  end
  lilac.sleep(0.001)
  return { lua = collectgarbage "count", rss = rss(), files = descriptors(),
    tasks = #lilac.all_tasks() }
end

if what == "streams" then
  server = lilac.net.serve("127.0.0.1", 0, function(stream)
    for line in stream:lines() do stream:write(line, "\n") end
  end)
  port = server.port
end

local before
for round = 1, WARM_UP + ROUNDS do
  works[what]()
  if round == WARM_UP then before = measure() end
end
local after = measure()
if dir then lilac.fs.rmtree(dir) end
local text = ("%s: Lua %.0f → %.0f KiB, RSS %d → %d KiB, %d → %d files, %d → %d tasks"):format(what,
  before.lua, after.lua, before.rss, after.rss, before.files, after.files, before.tasks,
  after.tasks)
print(text)
local is_flat = after.lua - before.lua < LUA_SLACK and after.files <= before.files
  and after.tasks <= before.tasks
-- ASan keeps what is freed.
local is_small = os.getenv "SANITIZED" or after.rss - before.rss < RSS_SLACK
os.exit(is_flat and is_small and 0 or 1)
