-- Random programs against invariants: run by spec/core/property_spec.lua in a lilac of its own.
--
--    lilac spec/support/property.lua FIRST_SEED PROGRAMS SECONDS [still | trace]
--
-- Each program is a handful of tasks that do random things to shared objects, drawn from its
-- seed. A broken invariant is an error that names the seed. `still`: no timers, so that all
-- depends on the seed alone; `trace` prints what is done. Prints the number of programs, and a
-- digest of all they did.
local lilac = require "lilac"

local first_seed, programs, seconds = tonumber(arg[1]), tonumber(arg[2]), tonumber(arg[3])
local still, tracing = arg[4] == "still", arg[4] == "trace"

local TINY = still and 0 or 1e-5 -- seconds: a sleep that ends soon
local LIMIT = still and math.huge or 1e-5 -- of timeouts, times a small number

-- ---- a program's world
-- ---------------------------------------------------------------------------

local world

local function broken(message, ...)
  error(("seed %d: " .. message):format(world.seed, ...), 0)
end

local function note(...)
  world.steps = world.steps + 1
  local text = table.concat({ ... }, " ")
  for i = 1, #text do world.digest = (world.digest * 31 + text:byte(i)) & 0xffffffff end
  if tracing then print(world.steps, text) end
end

-- A generator of its own, so that the draws of one task do not depend on the turns of others.
local function generator(seed)
  local state = seed * 2654435761 & 0xffffffffffff | 1
  return function(n)
    state = state ~ (state << 13)
    state = state ~ (state >> 7)
    state = state ~ (state << 17)
    return (state >> 11) % n + 1
  end
end

-- A guard whose __close must run exactly once; with `awaits` it waits there.
local function guard(awaits)
  world.opened = world.opened + 1
  local ran = false
  return setmetatable({}, { __close = function()
    if ran then broken "a <close> handler ran twice" end
    ran = true
    world.closed = world.closed + 1
    if awaits then lilac.sleep(awaits == 1 and 0 or TINY) end
  end })
end

local errors = lilac.errors

-- What may come out of an operation that is cancelled, timed out, shut down or fails on purpose.
local EXPECTED = {
  CancelledError = true, TimeoutError = true, QueueShutDown = true, BrokenBarrierError = true,
  DeadlockError = true, ExceptionGroup = true,
}

local function check_error(err)
  if err == "on purpose" then return end
  if errors.is(err, "Error") and EXPECTED[err.name] then return end
  broken("unexpected error: %s\n%s", tostring(err), errors.is(err, "Error") and err.traceback or "")
end

-- ---- objects, and what is known of them
-- ------------------------------------------------------------

local function new_queue(draw)
  local kind = draw(3)
  local size = draw(4) - 1
  local queue = kind == 1 and lilac.Queue(size) or kind == 2 and lilac.LifoQueue(size)
    or lilac.PriorityQueue(size, function(a, b) return a.number < b.number end)
  return { queue = queue, kind = kind, put = 0, got = 0, last = {}, seen = {} }
end

local function received(q, item)
  if type(item) ~= "table" or not item.number then broken("an item became %s", tostring(item)) end
  if q.seen[item] then broken "an item came twice" end
  q.seen[item] = true
  q.got = q.got + 1
end

-- With one producer per item source, a FIFO queue keeps the order of each producer's items, if
-- their consumers run in the order in which they got them: true of one consumer only.
local function check_order(q, item, consumer)
  if q.kind ~= 1 then return end
  local last = q.last[consumer] or {}
  q.last[consumer] = last
  if (last[item.producer] or 0) >= item.number then
    broken("items of one producer came out of order: %d after %d", item.number, last[item.producer])
  end
  last[item.producer] = item.number
end

local number = 0

-- put() that is cancelled has put its item or has not; which it is, is known: cancelled means not.
local function put(q, producer)
  number = number + 1
  local item = { number = number, producer = producer }
  q.queue:put(item)
  q.put = q.put + 1
end

local function holding(lock)
  if lock.holders ~= 0 then broken("a lock is held by %d", lock.holders + 1) end
  lock.holders = 1
end

local function critical(lock, draw)
  holding(lock)
  local _ <close> = setmetatable({}, { __close = function() lock.holders = lock.holders - 1 end })
  if draw(2) == 1 then lilac.sleep(draw(2) == 1 and 0 or TINY) end
end

-- ---- what a task can do
-- ---------------------------------------------------------------------------

local actions = {}
local act -- act(draw, depth, name): does one of them

local function body(draw, depth, name)
  for _ = 1, draw(4) do act(draw, depth, name) end
  return name
end

function actions.pause(draw) lilac.sleep(draw(3) == 1 and TINY or 0) end

function actions.put(draw, _, name) put(world.queues[draw(#world.queues)], name) end

function actions.get(draw, _, name)
  local q = world.queues[draw(#world.queues)]
  local item = q.queue:get()
  received(q, item)
  check_order(q, item, name)
end

function actions.put_nowait(draw, _, name)
  local q = world.queues[draw(#world.queues)]
  number = number + 1
  local ok, err = pcall(q.queue.put_nowait, q.queue, { number = number, producer = name })
  if ok then q.put = q.put + 1
  elseif err.name ~= "QueueFull" and err.name ~= "QueueShutDown" then error(err, 0) end
end

function actions.get_nowait(draw)
  local q = world.queues[draw(#world.queues)]
  local ok, item = pcall(q.queue.get_nowait, q.queue)
  if ok then received(q, item)
  elseif item.name ~= "QueueEmpty" and item.name ~= "QueueShutDown" then error(item, 0) end
end

function actions.permit(draw)
  local s = world.semaphores[draw(#world.semaphores)]
  local _ <close> = s.semaphore:acquire()
  s.taken = s.taken + 1
  local _ <close> = setmetatable({}, { __close = function() s.taken = s.taken - 1 end })
  if s.taken > s.permits then broken("%d of %d permits are taken", s.taken, s.permits) end
  lilac.sleep(draw(2) == 1 and 0 or TINY)
end

function actions.lock(draw)
  local lock = world.locks[draw(#world.locks)]
  if lock.lock:owner() == lilac.current_task() then return end
  local _ <close> = lock.lock:acquire()
  critical(lock, draw)
end

function actions.condition_wait()
  local c = world.condition
  if c.lock.lock:owner() == lilac.current_task() then return end
  local _ <close> = c.condition:acquire()
  holding(c.lock)
  c.lock.holders = 0
  -- Held again when it returns, or raises: hence the guard.
  local _ <close> = setmetatable({}, { __close = function()
    if c.lock.lock:owner() ~= lilac.current_task() then
      broken "Condition:wait has returned without its lock"
    end
  end })
  local _ <close> = lilac.timeout(5 * LIMIT)
  c.condition:wait()
end

function actions.notify(draw)
  local c = world.condition
  if c.lock.lock:owner() == lilac.current_task() then return end
  local _ <close> = c.condition:acquire()
  critical(c.lock, draw)
  if draw(2) == 1 then c.condition:notify(draw(2)) else c.condition:notify_all() end
end

function actions.event(draw)
  local event = world.event
  local what = draw(4)
  if what == 1 then event:set() elseif what == 2 then event:clear()
  else lilac.move_on_after(3 * LIMIT, event.wait, event) end
end

function actions.barrier(draw)
  local barrier = world.barrier
  local what = draw(8)
  if what == 1 then barrier:reset() return end
  lilac.move_on_after(5 * LIMIT, function()
    local index = barrier:wait()
    if index < 1 or index > barrier:parties() then broken("barrier gave %s", tostring(index)) end
  end)
end

local function spawn(draw, depth, name)
  if depth == 0 or world.spawned > 40 then return nil end
  world.spawned = world.spawned + 1
  local child = { name = name .. "." .. world.spawned, seed = draw(1000000) }
  local function run()
    child.began = true
    local _ <close> = guard(draw(3) - 1 > 0 and 1 or nil)
    return body(generator(child.seed), depth - 1, child.name)
  end
  return run, child
end

-- Others may cancel it, or await it.
local function keep(task, child)
  world.tasks[#world.tasks + 1] = task
  world.descent[task] = child.name
  return task
end

function actions.spawn(draw, depth, name)
  local run, child = spawn(draw, depth, name)
  if not run then return end
  local task = keep(lilac.create_task(run), child)
  if draw(2) == 1 then task:await() end
end

function actions.scoped_task(draw, depth, name)
  local run, child = spawn(draw, depth, name)
  if not run then return end
  local left
  do
    local task <close> = keep(lilac.create_task(run), child)
    left = task
    if draw(2) == 1 then lilac.sleep(0) end
  end
  if not left:done() then broken "a task has survived its scope" end
end

function actions.cancel(draw)
  local task = world.tasks[draw(math.max(1, #world.tasks))]
  if not task or task == lilac.current_task() then return end
  if task:cancel("by the program") then world.cancels = world.cancels + 1 end
end

function actions.await(draw, _, name)
  local task = world.tasks[draw(math.max(1, #world.tasks))]
  if not task or task == lilac.current_task() then return end
  -- Only descendants, or shielded: who awaits a task that waits for it in a gather waits for ever.
  if world.descent[task]:sub(1, #name + 1) == name .. "." then task:await()
  else lilac.shield(task) end
end

function actions.timeout(draw, depth, name)
  local outer = lilac.current_task()
  local started = lilac.time()
  local limit = draw(6) * LIMIT
  local ok, err = pcall(function()
    local scope <close> = lilac.timeout(limit)
    local _ <close> = guard()
    body(draw, depth, name)
    if draw(3) == 1 and not scope:expired() then
      scope:reschedule(lilac.time() + LIMIT)
      if not still then lilac.sleep(10) end
    end
  end)
  if lilac.current_task() ~= outer then broken "the task has changed" end
  if not ok then
    check_error(err)
    if lilac.time() < started then broken "time runs backwards" end
  end
end

function actions.move_on(draw, depth, name)
  local _ <close> = guard(1)
  lilac.move_on_after(draw(5) * LIMIT, body, draw, depth, name)
end

function actions.wait_for(draw, depth, name)
  local run = spawn(draw, depth, name)
  if not run then return end
  local aw = draw(2) == 1 and run or lilac.create_task(run)
  lilac.wait_for(aw, draw(5) * LIMIT)
end

function actions.group(draw, depth, name)
  local children = {}
  local ok, err = pcall(function()
    local group <close> = lilac.TaskGroup()
    for _ = 1, draw(3) do
      local run = spawn(draw, depth, name)
      if run then children[#children + 1] = group:create_task(run) end
    end
    if draw(4) == 1 then error("on purpose", 0) end
    if draw(4) == 1 then group:cancel() end
    act(draw, 0, name)
  end)
  for _, child in ipairs(children) do
    if not child:done() then broken "a TaskGroup has left a task behind" end
  end
  if not ok then error(err, 0) end
end

function actions.group_form(draw, depth, name)
  lilac.TaskGroup(function(group)
    local run = spawn(draw, depth, name)
    if run then group:create_task(run) end
    if draw(2) == 1 then group:cancel() end
    act(draw, 0, name)
  end)
end

function actions.gather(draw, depth, name)
  local list = {}
  for i = 1, draw(3) do list[i] = spawn(draw, depth, name) end
  if #list == 0 then return end
  local results = lilac.gather(list,
    { return_exceptions = draw(2) == 1, cancel_on_error = draw(2) == 1 })
  if results.n ~= #list then broken("gather gave %s of %d results", tostring(results.n), #list) end
end

function actions.as_completed(draw, depth, name)
  local list = {}
  for i = 1, draw(3) do list[i] = spawn(draw, depth, name) end
  local count = 0
  for task in lilac.as_completed(list) do
    count = count + 1
    if not task:done() then broken "as_completed gave a task that runs" end
    pcall(task.result, task)
  end
  if count ~= #list then broken("as_completed gave %d of %d", count, #list) end
end

function actions.shield(draw, depth, name)
  local run, child = spawn(draw, depth, name)
  if not run then return end
  lilac.shield(keep(lilac.create_task(run), child))
end

function actions.generator(draw, depth, name)
  local count = 0
  for i in lilac.generator(function()
    local _ <close> = guard(1)
    for i = 1, 3 do
      if draw(2) == 1 then act(draw, depth - 1, name) end
      coroutine.yield(i)
    end
  end) do
    count = count + 1
    if i ~= count then broken("a generator gave %s for %d", tostring(i), count) end
    if draw(4) == 1 then return end
    lilac.sleep(0)
  end
end

function actions.coroutine(draw, depth, name)
  local co = coroutine.create(function(a)
    local _ <close> = guard(draw(2))
    act(draw, depth - 1, name)
    local b = coroutine.yield(a + 1)
    lilac.sleep(0)
    return b + 1
  end)
  local ok, value = coroutine.resume(co, 1)
  if not ok then error(value, 0) end
  if value ~= 2 then broken("a coroutine gave %s", tostring(value)) end
  if draw(3) == 1 then
    coroutine.close(co)
  else
    ok, value = coroutine.resume(co, 5)
    if not ok then error(value, 0) end
    if value ~= 6 then broken("a coroutine gave %s", tostring(value)) end
  end
  if coroutine.status(co) ~= "dead" then broken "a coroutine lives on" end
end

function actions.future(draw)
  local future = lilac.Future()
  local what = draw(3)
  local later = still and function(_, fn) return lilac.call_soon(fn) end or lilac.call_later
  local handle = later(TINY, function()
    if future:done() then return end
    if what == 1 then future:set_result(7, nil, 8) elseif what == 2 then
      future:set_exception("on purpose")
    else future:cancel() end
  end)
  local _ <close> = handle
  local a, b, c = future:await()
  if a ~= 7 or b ~= nil or c ~= 8 then broken "a future lost a result" end
end

function actions.fail(draw)
  if draw(3) == 1 then error("on purpose", 0) end
end

-- The plain pcall catches the task's own cancellation, too; it goes on afterwards.
function actions.catch(draw, depth, name)
  local ok, err = lilac.pcall(body, draw, depth, name)
  if ok then return end
  check_error(err)
  error(err, 0)
end

function actions.protect(draw, depth, name)
  local _ <close> = guard(draw(3) - 1)
  local ok, err = pcall(body, draw, depth, name)
  if not ok then check_error(err) end
end

function actions.shut_down(draw)
  if draw(6) > 1 then return end
  world.queues[draw(#world.queues)].queue:shutdown()
end

local names = {}
for name in pairs(actions) do names[#names + 1] = name end
table.sort(names)
for _, name in ipairs { "put", "get", "put", "get", "pause", "cancel", "permit", "lock" } do
  names[#names + 1] = name
end

function act(draw, depth, name)
  if depth < 0 then depth = 0 end
  local action = names[draw(#names)]
  note(name, action)
  if world.steps > 3000 then return end
  actions[action](draw, depth, name)
end

-- ---- one program
-- -----------------------------------------------------------------------------------

local function new_world(seed, draw)
  world = { seed = seed, steps = 0, digest = 0, opened = 0, closed = 0, spawned = 0, cancels = 0,
    tasks = {}, descent = {}, queues = {}, semaphores = {}, locks = {} }
  for i = 1, 3 do world.queues[i] = new_queue(draw) end
  for i = 1, 2 do
    local permits = draw(2)
    world.semaphores[i] = { permits = permits, taken = 0,
      semaphore = i == 1 and lilac.Semaphore(permits) or lilac.BoundedSemaphore(permits) }
    world.locks[i] = { lock = lilac.Lock(), holders = 0 }
  end
  world.condition = { lock = world.locks[1], condition = lilac.Condition(world.locks[1].lock) }
  world.event = lilac.Event()
  world.barrier = lilac.Barrier(2)
end

-- Who waits for an item or a place that nobody will give gets it from here, or is cancelled in
-- the end.
local function drain_tasks()
  for round = 1, 2000 do
    local left
    for _, task in ipairs(lilac.all_tasks()) do
      if task ~= world.main then left = task end
    end
    if not left then return end
    if round % 8 == 0 then
      for _, task in ipairs(lilac.all_tasks()) do
        if task ~= world.main then task:cancel("the end of the program") end
      end
    end
    lilac.sleep(round < 8 and 0 or TINY)
  end
  local texts = {}
  for i, task in ipairs(lilac.all_tasks()) do
    texts[i] = tostring(task) .. "\n" .. task:traceback()
  end
  broken("tasks do not end:\n%s", table.concat(texts, "\n"))
end

local function check_end()
  if world.opened ~= world.closed then
    broken("%d of %d <close> handlers ran", world.closed, world.opened)
  end
  for i, q in ipairs(world.queues) do
    while not q.queue:empty() do received(q, q.queue:get_nowait()) end
    if q.put ~= q.got then broken("queue %d: %d items put, %d got", i, q.put, q.got) end
  end
  for i, s in ipairs(world.semaphores) do
    if s.taken ~= 0 or s.semaphore:value() ~= s.permits then
      broken("semaphore %d: %d of %d permits are left", i, s.semaphore:value(), s.permits)
    end
  end
  for i, lock in ipairs(world.locks) do
    if lock.lock:locked() then broken("lock %d is held by nobody", i) end
  end
  if world.barrier:n_waiting() ~= 0 then broken "somebody is left at the barrier" end
  for _, task in ipairs(world.tasks) do
    if not task:done() then broken "a task has not ended" end
    if task:cancelled() then
      if not errors.is(select(2, pcall(task.result, task)), "CancelledError") then
        broken "a cancelled task does not say so"
      end
    elseif task:failed() then
      check_error(task:exception())
    end
  end
end

local digest = 0

local function run_program(seed)
  local draw = generator(seed)
  new_world(seed, draw)
  world.main = lilac.current_task()
  local roots = {}
  for i = 1, 3 + draw(5) do
    local root_draw = generator(seed * 100 + i)
    roots[i] = lilac.create_task(function()
      local _ <close> = guard(1)
      for _ = 1, 3 do body(root_draw, 3, "root" .. i) end
    end)
    keep(roots[i], { name = "root" .. i })
  end
  for _ = 1, 20 do lilac.sleep(0) end
  drain_tasks()
  if #lilac.all_tasks() ~= 1 then broken "tasks are left" end
  for _, task in ipairs(world.tasks) do
    if task:done() and not task:cancelled() then task:exception() end
  end
  check_end()
  digest = (digest * 31 + world.digest) & 0xffffffff
end

-- A task that the program created and forgot may fail on purpose: nobody takes that.
lilac.set_exception_handler(function(context)
  local ok, err = pcall(check_error, context.exception)
  if not ok then
    io.stderr:write(tostring(err), "\n")
    os.exit(1)
  end
end)

local began = lilac.time()
for seed = first_seed, first_seed + programs - 1 do
  -- A program that hangs is ended by the watchdog: a second is a thousand times what it needs.
  local ok, err = pcall(lilac.timeout, 20, { interrupt = true }, run_program, seed)
  if not ok then
    io.stderr:write(("seed %d: %s\n"):format(seed, tostring(err)))
    os.exit(1)
  end
  if seed % 20 == 0 then collectgarbage() end
  if lilac.time() - began > seconds then
    programs = seed - first_seed + 1
    break
  end
end
print(("%d programs, digest %d"):format(programs, digest))
os.exit(0)
