-- Every example does what it shows.

local lilac = require "lilac"
local background = require "spec.support.background"
local folder = require "spec.support.folder"
local run = require "spec.support.child"

local LILAC = os.getenv "LILAC" or "build/lilac"

local function read(path)
  local file = assert(io.open(path))
  return file:read "a", file:close()
end

-- Runs an example by its name, at most a minute.
local function run_example(name)
  local path = "examples/" .. name .. ".lua"
  return run(read(path), { name = path, env = "exec timeout 60" })
end

local expected = {
  tour = [[
tasks: two things at once
  coffee is ready
  tea is ready
  served: tea and coffee
gather: the results come in the order of the arguments
  salad is ready
  soup is ready
  served: soup and salad
timeout: what takes too long is cancelled
  stew: TimeoutError
cancel: clean-up runs, and may await too
  the bill is ready
  guest left: CancelledError
queue: three workers share the orders
  orders done: 10
]],
  fetch = [[
apple  52 kcal
cherry 50 kcal
grape  69 kcal
lemon  29 kcal
plum   46 kcal
all at once: true
]],
  cpu_map = [[
200000 of 200000 numbers seen
primes below 200000: 17984
]],
  blocking = [[
hello ann
hello bob
the loop went on: true
no such host
]],
  cores = "HELLO\tWORLD\nworkers that have served: 2\ncount here: nil\n",
  first = [[
south has answered
north: cancelled by task:cancel() at examples/first.lua:22: too late
west: cancelled by task:cancel() at examples/first.lua:22: too late
]],
  workers = [[
total: 465
most in the queue: 4
ann had work: true
bob had work: true
cid had work: true
]],
  semaphore = [[
finished 9, failed 1
most at a time: 3
free permits: 3
]],
  retry = [[
attempt 1: ConnectionRefusedError
attempt 2: ConnectionRefusedError
attempt 3: connected
done
with a deadline, when the server has gone again:
attempt 1: ConnectionRefusedError
false	ConnectionRefusedError
]],
  contextmanager = [[
first: begin
first: commit add 3, add 4
second: begin
second: roll back add 5
false	out of paper
]],
  paginator = [[
amber
birch
cedar
dune
ember
requests: 2
]],
  tls_echo = [[
hello: TLSv1.3, echo, new
hello again: TLSv1.3, echo, resumed
]],
  unix_rpc = [[
upper lilac	ok	LILAC
sleep well	error	number expected, got well
wake up	error	no procedure wake
sleep 0.1	ok	slept 0.1 s
]],
  generator = [[
3
2
1
20 degrees
21 degrees
22 degrees
thermometer switched off
end
]],
  safe_gather = [[
1	a loaded
2	b is broken
3	c loaded
false	b is broken
ConnectionRefusedError
TimeoutError
]],
  batches = [[
batch 1: 1 4 9 16
batch 2: 25 36 49 64
batch 3: 81 100
]],
  shield = [[
waited to the end: false
saved by now: false
later: saved
without a shield: cancelled
]],
  errors = [[
ConnectionRefusedError	ECONNREFUSED	connect
an OSError: true
a TimeoutError: false
a string is none: false
code 42
ExceptionGroup
1	disk full
2	tape full
false	ConnectionResetError: the modem hung up
]],
  timeouts = [[
false	TimeoutError: timeout(0.05) at examples/timeouts.lua:13 expired
the scope has more time
in time
false	TimeoutError: timeout(0.05) at examples/timeouts.lua:26 expired
true	in time
false
false	TimeoutError: wait_for(0.05) at examples/timeouts.lua:32 expired
true
false	TimeoutError: timeout(0.05) at examples/timeouts.lua:37 expired
false	TimeoutError: timeout(0.05) at examples/timeouts.lua:43 expired
]],
  udp_echo = [[
HELLO
WORLD
BYE
6 datagrams for 3 answers
]],
  discovery = [[
printer is here
scanner is here
toaster is here
]],
  parallel_gzip = [[
8 files, up to 3 at a time, 53 MB less
]],
  taskgroup = [[
both are under way
check is done
copy is done
both have ended
copy is done
report was cancelled
false	check failed
the server is up: true
]],
}

-- Whose lines come as things happen, which --shuffle changes.
local in_any_order = { unix_rpc = true }

local function sorted(text)
  local lines = {}
  for line in text:gmatch "[^\n]*\n" do lines[#lines + 1] = line end
  table.sort(lines)
  return table.concat(lines)
end

describe("examples", function()
  for name, output in pairs(expected) do
    it(name .. ".lua prints what it says", function()
      local child = run_example(name)
      assert.equal("", child.stderr)
      if in_any_order[name] then
        assert.equal(sorted(output), sorted(child.stdout))
      else
        assert.equal(output, child.stdout)
      end
      assert.equal(0, child.status)
    end)
  end

  it("deadlock.lua finds the circle, then ends with status 3 and the list of who waits", function()
    local child = run_example "deadlock"
    assert.matches("DeadlockError: deadlock: task '%a+' would wait for task '%a+'", child.stdout)
    assert.matches("(main): queue:get (queue of 0 items) at examples/deadlock.lua", child.stderr,
      1, true)
    assert.equal(3, child.status)
  end)

  it("shutdown.lua ends its workers on SIGTERM, then dies by it", function()
    local job <close> = background(("exec %s examples/shutdown.lua"):format(LILAC))
    job:wait_for "working"
    lilac.sleep(0.2)
    job:kill "TERM"
    assert.equal(128 + 15, job:wait())
    local output = job:output()
    assert.matches("cancelled by SIGTERM\n", output, 1, true)
    assert.matches("ann: stopped between two jobs: true\n", output, 1, true)
    assert.matches("bob: stopped between two jobs: true\n", output, 1, true)
    assert.matches("bye\n$", output)
    assert.equal("", job:errors())
  end)

  it("shutdown.lua says goodbye also when nobody stops it", function()
    local child = run(read "examples/shutdown.lua", { args = "0.1", env = "exec timeout 60" })
    assert.matches("^working.*\ndone\n.*\nbye\n$", child.stdout)
    assert.equal(0, child.status)
  end)

  it("tail.lua follows a file that grows, is replaced, and is cut", function()
    local dir <close> = folder()
    local path = dir:write("log", "one\ntwo\nthree\n")
    local job <close> = background(("exec %s examples/tail.lua %s 2"):format(LILAC, path))
    job:wait_for "^two\nthree\n"
    local log <close> = io.open(path, "a")
    log:write "four and":flush()
    job:wait_for "three\nfour and"
    log:write " a half\n":flush()
    job:wait_for "four and a half\n"
    log:write "the last\n":flush()
    os.rename(dir:write("new", "a new one\n"), path)
    job:wait_for "the last\na new one\n"
    dir:write("log", "cut\n")
    job:wait_for "a new one\ncut\n$"
    job:kill "TERM"
    assert.equal(128 + 15, job:wait())
    assert.equal("", job:errors())
  end)

  it("filter.lua answers all lines in their order, and ends quietly when nobody reads", function()
    local input, output = {}, {}
    for i = 1, 40 do
      local word = ("x"):rep(i % 7 + 1)
      input[i] = word .. "\n"
      output[i] = ("%s has %d letters\n"):format(word:upper(), #word)
    end
    local result = lilac.process.run { LILAC, "examples/filter.lua", input = table.concat(input) }
    assert.same({ code = 0, stdout = table.concat(output), stderr = "" }, result)
    result = lilac.process.run { "yes | $1 examples/filter.lua | head -n 2", LILAC, shell = true }
    assert.same({ code = 0, stdout = ("Y has 1 letters\n"):rep(2), stderr = "" }, result)
  end)

  it("are all tested", function()
    local others = { chat = true, deadlock = true, filter = true, shutdown = true, tail = true }
    local pipe = assert(io.popen "ls examples")
    for file in pipe:lines() do
      local name = file:match "^(.+)%.lua$"
      assert.is_true(not name or expected[name] ~= nil or others[name], file)
    end
    pipe:close()
  end)
end)

describe("examples/chat.lua", function()
  -- Starts a server; returns its job and port.
  local function start(limit)
    local job = background(("exec %s examples/chat.lua 0 %d"):format(LILAC, limit))
    return job, tonumber((job:wait_for "port (%d+), up to %d+ clients\n"))
  end

  -- Connects somebody from within the specs.
  local function join(port, name)
    local stream = lilac.net.connect("127.0.0.1", port)
    assert.equal("what is your name?", stream:read "l")
    stream:write(name, "\n")
    return stream
  end

  -- Reads until a line matches.
  local function hear(stream, pattern)
    local _ <close> = lilac.timeout(30)
    for line in stream:lines() do
      if line:match(pattern) then return line end
    end
    error("the end of the stream, and no " .. pattern)
  end

  it("serves a hundred clients of nc at once, and tells them all when it ends", function()
    local server <close>, port = start(101)
    local listener <close> = join(port, "listener")
    hear(listener, "^listener is here$")
    -- Each nc gets its name from a file, and ends when the server closes the connection.
    local clients <close> = background(([[
      dir=$(mktemp -d)
      for i in $(seq 100); do
        echo "nc $i" >$dir/$i.in
        timeout 60 nc 127.0.0.1 %d <$dir/$i.in >$dir/$i.out &
      done
      wait
      echo all have ended
      grep -l "^listener: hello$" $dir/*.out | wc -l
      grep -l "^server is shutting down$" $dir/*.out | wc -l
      tail -qn 1 $dir/*.out | sort | uniq -c
      rm -r $dir]]):format(port))
    local here, count = {}, 0
    while count < 100 do
      local name = hear(listener, "^nc %d+ is here$")
      assert.is_nil(here[name])
      here[name], count = true, count + 1
    end
    listener:write "hello\n"
    hear(listener, "^listener: hello$")
    server:kill "TERM"
    assert.equal("server is shutting down", hear(listener, "shutting"))
    assert.is_nil(listener:read "l")
    assert.equal(0, clients:wait())
    assert.equal("all have ended 100 100 100 server is shutting down",
      (clients:output():gsub("%s+", " "):gsub(" $", "")))
    assert.equal(0, server:wait())
    assert.equal("", server:errors())
  end)

  it("lets clients above the limit wait until one leaves", function()
    local server <close>, port = start(2)
    local ann, bob = join(port, "ann"), join(port, "bob")
    hear(ann, "^bob is here$")
    local cid = lilac.net.connect("127.0.0.1", port)
    assert.is_false(lilac.move_on_after(0.2, cid.read, cid, "l"))
    bob:close()
    hear(ann, "^bob has left$")
    assert.equal("what is your name?", hear(cid, ""))
    cid:write "cid\n"
    hear(ann, "^cid is here$")
    ann:close()
    cid:close()
    server:kill "INT"
    assert.equal(0, server:wait(), server:errors())
  end)

  it("ends on SIGTERM with status 0, also while a client never reads", function()
    local server <close>, port = start(10)
    local ann <close> = join(port, "ann")
    local bob <close> = join(port, "bob")
    hear(ann, "^bob is here$")
    for _ = 1, 200 do ann:write(("long "):rep(1000), "\n") end -- bob reads none of it
    ann:write "last\n" -- what the server had not read, it would answer with a reset
    hear(ann, "^ann: last$")
    server:kill "TERM"
    hear(ann, "^server is shutting down$")
    bob:close()
    assert.equal(0, server:wait())
    assert.matches("chat is over: cancelled by SIGTERM\n$", server:output())
    assert.equal("", server:errors())
  end)

  it("is not disturbed by a client that is reset", function()
    local server <close>, port = start(10)
    local ann <close> = join(port, "ann")
    hear(ann, "^ann is here$")
    os.execute(("socat -u OPEN:/dev/null TCP:127.0.0.1:%d,linger=0"):format(port))
    local dora = join(port, "dora")
    hear(ann, "^dora is here$")
    dora:close() -- with lines that it has not read
    hear(ann, "^dora has left$")
    server:kill "TERM"
    assert.equal(0, server:wait())
    assert.equal("", server:errors())
  end)
end)

describe("examples/chat_demo.sh", function()
  it("plays through", function()
    local pipe = assert(io.popen(("timeout 60 examples/chat_demo.sh %s 2>&1"):format(LILAC)))
    local output = pipe:read "a"
    assert.is_true(pipe:close())
    assert.matches("\nserver gets SIGTERM\n.*\nserver exit status 0\n$", output)
  end)
end)

describe("examples/cmodule", function()
  local dir

  -- Runs a command of the shell in the copy of the directory; returns whether it succeeded, and all
  -- that it prints. No make has a say in it that runs these specs.
  local function shell(command)
    local pipe = assert(io.popen(("cd %s && unset MAKEFLAGS MAKELEVEL FLAVOUR && { %s; } 2>&1")
      :format(dir, command)))
    local output = pipe:read "a"
    return pipe:close() or false, output
  end

  setup(function()
    dir = os.tmpname()
    os.remove(dir)
    assert(os.execute(("cp -r examples/cmodule %s"):format(dir)))
    local ok, output = shell(("make -C $OLDPWD install DESTDIR=%s/root PREFIX=/usr"):format(dir))
    assert(ok, output)
    ok, output = shell(("make LILAC_PREFIX=%s/root/usr"):format(dir))
    assert(ok, output)
    package.cpath = dir .. "/?.so;" .. package.cpath
  end)

  teardown(function()
    package.cpath = package.cpath:gsub("^[^;]*;", "")
    os.execute("rm -r " .. dir)
  end)

  it("builds out of the tree with nothing but what is installed, and runs", function()
    local ok, output = shell(("make -s run LILAC_PREFIX=%s/root/usr"):format(dir))
    assert.is_true(ok, output)
    assert.equal([[
ticked: true
checksum: d9b8b188
false	TimeoutError: timeout(0.05) at try.lua:21 expired
]], output)
  end)

  it("parks the task that waits for a tick, and wakes it", function()
    local ticker = require "ticker"
    local clock <close> = ticker.new(0.01)
    assert.is_true(clock:wait() >= 1)
    lilac.sleep(0.05)
    assert.is_true(clock:wait() >= 2)
  end)

  it("cancels a wait, and can wait again", function()
    local clock <close> = require "ticker".new(0.05)
    assert.is_false(lilac.move_on_after(0.01, clock.wait, clock))
    assert.equal(1, clock:wait())
  end)

  it("wakes who waits when it is closed", function()
    local clock = require "ticker".new(60)
    local task = lilac.create_task(clock.wait, clock)
    lilac.sleep(0.01)
    clock:close()
    local ok, err = pcall(task.await, task)
    assert.is_false(ok)
    assert.is_true(lilac.errors.is(err, "ClosedError"))
  end)

  it("refuses a second task that would wait", function()
    local clock <close> = require "ticker".new(60)
    local task <close> = lilac.create_task(clock.wait, clock)
    lilac.sleep(0.01)
    local ok, err = pcall(clock.wait, clock)
    assert.is_false(ok)
    assert.is_true(lilac.errors.is(err, "InvalidStateError"))
    assert.matches(task.name, err.message, 1, true)
  end)

  it("says what is wrong with an argument", function()
    local ticker = require "ticker"
    assert.has_error(function() ticker.new(0) end,
      "bad argument #1 to 'new' (0.001 to 1e6 seconds expected)")
    assert.error_matches(function() ticker.new(60).wait(1) end, "Ticker expected, got number")
    assert.error_matches(function() ticker.checksum {} end, "string expected, got table")
  end)

  it("computes in the pool while others run, and can be cancelled", function()
    local ticker = require "ticker"
    assert.equal(0xcbf43926, ticker.checksum "123456789")
    local text, turns = ("x"):rep(1 << 22), 0
    local task = lilac.create_task(ticker.checksum, text)
    while not task:done() do
      lilac.sleep(0.001)
      turns = turns + 1
    end
    assert.is_true(turns > 1)
    assert.is_false(lilac.move_on_after(0.001, ticker.checksum, text))
  end)
end)
