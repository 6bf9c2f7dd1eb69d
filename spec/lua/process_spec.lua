local lilac = require "lilac"
local eventually = require "spec.support.eventually"
local raises = require "spec.support.raises"
local run_script = require "spec.support.child"
local script = require "spec.support.script"
local settle = require "spec.support.settle"

local process = lilac.process
local run, spawn = process.run, process.spawn

local MIB = 1 << 20

local function sh(text, options)
  options = options or {}
  options[1], options.shell = text, true
  return run(options)
end

-- The processes whose command line contains a text, zombies and all, and the children of the specs.
--- How many processes have that command line. One that was just started may have none yet.
local function alive(text)
  local pipe = assert(io.popen("ps -e -o args= | grep -c -- '[" .. text:sub(1, 1) .. "]"
    .. text:sub(2) .. "'"))
  return pipe:read "n", pipe:close()
end

local function children()
  local pipe = assert(io.popen "ps --ppid $PPID -o pid= | wc -l")
  return pipe:read "n" - 1, pipe:close() -- but for the shell that asks
end

describe("process.run", function()
  it("returns the exit status and what was written", function()
    assert.same({ code = 0, stdout = "a b 1 2.5\n", stderr = "" }, run { "echo", "a b", 1, 2.5 })
    assert.same({ code = 3, stdout = "out\n", stderr = "err\n" },
      sh "echo out; echo err >&2; exit 3")
    assert.same({ signal = "SIGKILL", stdout = "", stderr = "" }, sh "kill -9 $$")
  end)

  it("feeds its input and reads both outputs at the same time, whatever their size", function()
    local text = ("0123456789abcdef"):rep(MIB // 4)
    local result = sh("tee /dev/stderr", { input = text })
    assert.is_true(result.stdout == text)
    assert.is_true(result.stderr == text)
  end)

  it("gives an empty input to who reads and has none", function()
    assert.equal("", run { "cat" }.stdout)
    assert.equal("", run { "cat", stdin = "pipe" }.stdout)
    assert.equal("", run { "cat", input = "" }.stdout)
  end)

  it("does not mind a program that reads less than it gets", function()
    assert.equal(0, run { "true", input = ("x"):rep(MIB) }.code)
    assert.equal("x", run { "head", "-c", 1, input = ("x"):rep(4 * MIB) }.stdout)
  end)

  it("changes the environment, in which false removes a name", function()
    local result = sh("echo $A$B-$HOME-${PATH:+path}", { env = { A = 1, B = "two", HOME = false } })
    assert.equal("1two--path\n", result.stdout)
    assert.equal(os.getenv "HOME", sh("printf %s $HOME", { env = {} }).stdout)
  end)

  it("runs in another directory", function()
    assert.equal("/\n", run { "pwd", cwd = "/" }.stdout)
  end)

  it("runs a line of shell, with what follows as its arguments", function()
    assert.equal("2 b c\n", sh("echo $# $1 $2 | cat", { nil, "b", "c" }).stdout)
  end)

  it("lets stderr go with stdout, and streams be chosen one by one", function()
    assert.same({ code = 0, stdout = "a\nb\n" }, sh("echo a; echo b >&2", { stderr = "stdout" }))
    assert.same({ code = 0, stdout = "a\n" }, sh("echo a; echo b >&2", { stderr = "null" }))
    local file <close> = assert(io.tmpfile())
    assert.same({ code = 0, stderr = "" }, sh("echo a", { stdout = file }))
    file:seek "set"
    assert.equal("a\n", file:read "a")
  end)

  it("leaves the program our streams with capture = false", function()
    local child = run_script([[
      local result = require "lilac".process.run { "cat; echo error >&2", shell = true,
        capture = false }
      print(result.code, result.stdout, result.stderr)]], { input = "from stdin\n" })
    assert.equal("from stdin\n0\tnil\tnil\n", child.stdout)
    assert.equal("error\n", child.stderr)
  end)

  it("raises a ProcessError with the end of stderr and the result, with check", function()
    local err = raises("ProcessError", sh,
      "echo out; for i in $(seq 500); do echo line $i; done >&2; exit 2", { check = true })
    assert.matches("^run echo out; for i in.*%.%.%.: exit status 2:\n  %.%.%.\n", err.message)
    assert.matches("\n  line 499\n  line 500$", err.message)
    assert.is_true(#err.message < 2000)
    assert.equal(2, err.result.code)
    assert.equal("out\n", err.result.stdout)
    assert.matches("line 1\n", err.result.stderr)
    err = raises("ProcessError", sh, "kill -9 $$", { check = true, capture = false })
    assert.equal("run kill -9 $$: ended by SIGKILL", err.message)
    assert.equal("SIGKILL", err.result.signal)
    assert.equal(0, sh("exit 0", { check = true }).code)
  end)

  it("raises a TimeoutError that has what was written, and ends the program", function()
    local err = raises("TimeoutError", sh, "echo begun; echo more >&2; sleep 71.1; sleep 71.1",
      { timeout = 0.2 })
    assert.matches("^run echo begun.*: it took longer than 0.2 s$", err.message)
    assert.equal("begun\n", err.stdout)
    assert.equal("more\n", err.stderr)
    assert.equal(0, children())
    assert.equal(0, sh("exit 0", { timeout = 60 }).code)
  end)

  it("raises a LimitOverrunError for more output than its limit, and ends the program", function()
    assert.equal(1000, #run { "head", "-c", 1000, "/dev/zero", limit = 1000 }.stdout)
    local err = raises("LimitOverrunError", run, { "cat", "/dev/zero", limit = 1000 })
    assert.equal("run: stdout is longer than the limit of 1000 bytes", err.message)
    assert.equal(0, children())
  end)

  it("ends a program that ignores SIGTERM after the grace", function()
    local began = lilac.time()
    raises("TimeoutError", sh, "trap '' TERM; while true; do sleep 0.01; done",
      { timeout = 0.1, grace = 0.1 })
    assert.is_true(lilac.time() - began < 30)
    assert.equal(0, children())
  end)

  it("ends with the program all that it has started, also when that has ended first", function()
    raises("TimeoutError", sh, "sleep 72.25 & sleep 72.25", { timeout = 0.1 })
    raises("TimeoutError", sh, "sleep 72.25 &", { timeout = 0.1 })
    raises("TimeoutError", sh, "(trap '' TERM; sleep 72.25) & wait", { timeout = 0.1 })
    eventually(function() return alive "sleep 72.25" == 0 end) -- init reaps them
  end)

  it("lets go what a program leaves behind on purpose", function()
    local result = sh "sleep 73.5 >/dev/null 2>&1 & echo $!"
    eventually(function() return alive "sleep 73.5" == 1 end)
    lilac.signal.kill(tonumber(result.stdout), "KILL")
  end)

  it("leaves neither zombies nor orphans after 1000 cancelled runs", function()
    local count, cancelled = 0, 0
    for _ = 1, 25 do
      local tasks = {}
      for i = 1, 40 do
        count = count + 1
        tasks[i] = lilac.create_task(run, { i % 2 == 0 and "sleep 74.75 | cat" or "sleep 74.75",
          shell = true, input = i % 3 == 0 and ("x"):rep(100000) or nil })
      end
      for i, task in ipairs(tasks) do
        if i % 4 == 0 then lilac.sleep(0.0005) end
        task:cancel()
      end
      lilac.wait(tasks)
      for _, task in ipairs(tasks) do cancelled = cancelled + (task:cancelled() and 1 or 0) end
    end
    assert.equal(1000, count)
    assert.equal(1000, cancelled)
    assert.equal(0, children())
    eventually(function() return alive "sleep 74.75" == 0 end)
  end)

  it("kills at once when the clean-up is cancelled as well", function()
    local task = settle.start(sh, "trap '' TERM; echo; while true; do sleep 0.01; done",
      { grace = 1000 })
    lilac.sleep(0.1)
    task:cancel()
    settle()
    assert.is_false(task:done())
    task:cancel()
    lilac.wait { task }
    assert.is_true(task:cancelled())
    eventually(function() return children() == 0 end)
  end)

  it("starts nothing where nobody can wait", function()
    local before = children()
    local future = lilac.Future()
    lilac.call_soon(function() future:set_result(select(2, pcall(run, { "sleep", 99 }))) end)
    assert.matches("wait: cannot await in a callback", future:await().message)
    local task = lilac.create_task(function()
      lilac.current_task():cancel()
      run { "sleep", 99 }
    end)
    raises("CancelledError", task.await, task)
    assert.equal(before, children())
  end)

  it("runs many at once", function()
    local calls = {}
    for i = 1, 50 do calls[i] = function() return run { "echo", i }.stdout end end
    for i, text in ipairs(lilac.gather(calls)) do assert.equal(i .. "\n", text) end
  end)

  it("does not disturb os.execute and io.popen", function()
    local tasks = {}
    for i = 1, 5 do tasks[i] = lilac.create_task(sh, "sleep 0.0" .. i) end
    for i = 1, 5 do
      lilac.sleep(0.005)
      local pipe = io.popen("exit " .. i)
      assert.equal(i + 10, select(3, os.execute("sleep 0.01; exit " .. i + 10)))
      assert.equal(i, select(3, pipe:close()))
    end
    for i = 1, 5 do assert.equal(0, tasks[i]:await().code) end
  end)

  it("says what is wrong with its argument", function()
    local function fails(text, ...)
      local ok, err = pcall(run, ...)
      assert.is_false(ok)
      assert.matches(text, err, 1, true)
      assert.matches("bad argument #1 to 'run'", err, 1, true)
    end
    fails("table of a program, its arguments and options expected, got string", "ls")
    fails("table of a program, its arguments and options expected, got nil")
    fails("program expected, got none", {})
    fails("program expected, got none", { capture = true })
    fails("unknown option 'args'; known: capture, check, cwd, env, grace, group, input, limit, ",
      { "ls", args = {} })
    fails("unknown option 'detached'", { "ls", detached = true })
    fails("argument 1 of the program: string expected, got boolean", { "ls", true })
    fails("stdout: 'inherit', 'null', 'pipe', a Stream or a file expected, got 'x'",
      { "ls", stdout = "x" })
    fails("options 'input' and 'stdin' exclude each other", { "ls", input = "", stdin = "null" })
    fails("option 'timeout': seconds from 0 on expected, got -1", { "ls", timeout = -1 })
    fails("option 'timeout': number expected, got string", { "ls", timeout = "1" })
    fails("option 'limit': positive number of bytes expected, got 0", { "ls", limit = 0 })
    fails("option 'env': table expected, got number", { "ls", env = 1 })
    fails("option 'check': boolean expected, got number", { "ls", check = 1 })
  end)
end)

describe("process.spawn", function()
  it("starts a program with our streams, and waits for it", function()
    local child = run_script([[
      local one = require "lilac".process.spawn { "cat; exit 4", shell = true }
      print(one.stdin, one.stdout, one.stderr, one:wait())]], { input = "here\n" })
    assert.equal("here\nnil\tnil\tnil\t4\tnil\n", child.stdout)
  end)

  it("gives streams to talk to it", function()
    local one <close> = spawn { "cat", stdin = "pipe", stdout = "pipe" }
    for i = 1, 3 do
      one.stdin:write(i, "\n")
      assert.equal(tostring(i), one.stdout:read())
    end
    one.stdin:shutdown()
    assert.is_nil(one.stdout:read())
    assert.same({ 0 }, { one:wait() })
    assert.matches("^Process %(%d+, ended%): 0x", tostring(one))
  end)

  it("waits for a slow reader", function()
    local one <close> = spawn { "sleep", 99, stdin = "pipe" }
    local finished = lilac.move_on_after(0.05, one.stdin.write, one.stdin, ("x"):rep(MIB))
    assert.is_false(finished)
  end)

  it("connects programs, a | b | c", function()
    local a <close> = spawn { "printf 'pear\napple\npear\n'", shell = true, stdout = "pipe" }
    local b <close> = spawn { "sort", stdin = a.stdout, stdout = "pipe" }
    local c <close> = spawn { "uniq", "-c", stdin = b.stdout, stdout = "pipe" }
    assert.equal(" 1 apple 2 pear ", (c.stdout:read "a":gsub("%s+", " ")))
    for _, one in ipairs { a, b, c } do assert.equal(0, (one:wait())) end
  end)

  it("gives a connection to a program", function()
    local server <close> = lilac.net.serve("127.0.0.1", 0, function(stream)
      local one <close> = spawn { "tr", "a-z", "A-Z", stdin = stream, stdout = stream }
      one:wait()
    end)
    local stream <close> = lilac.net.connect("127.0.0.1", server.port)
    stream:write "shout\n"
    stream:shutdown()
    assert.equal("SHOUT\n", stream:read "a")
  end)

  it("is no colour of its own: it works in a callback", function()
    local future = lilac.Future()
    lilac.call_soon(function() future:set_result(spawn { "true" }) end)
    assert.equal(0, (future:await():wait()))
  end)

  it("runs on though nobody keeps the Process, and is reaped", function()
    spawn { "sleep", "0.1" }
    collectgarbage()
    collectgarbage()
    assert.equal(1, children())
    eventually(function() return children() == 0 end)
  end)

  it("says what is wrong with its argument", function()
    assert.error_matches(function() spawn { "ls", capture = true } end,
      "bad argument #1 to 'spawn' %(unknown option 'capture'; known: cwd, detached,")
    raises("FileNotFoundError", spawn, { "nosuchprogram" })
  end)
end)

describe("Process:wait", function()
  it("can be cancelled, which leaves the process alone", function()
    local one <close> = spawn { "cat", stdin = "pipe", stdout = "pipe" }
    local task = settle.start(one.wait, one)
    task:cancel()
    settle()
    assert.is_true(task:cancelled())
    one.stdin:write "alive\n"
    assert.equal("alive", one.stdout:read())
  end)

  it("counts as I/O; a process that nobody waits for does not", function()
    local child = run_script [[
      local lilac = require "lilac"
      local one = lilac.process.spawn { "sleep", "0.1" }
      print(one:wait())
      local other <close> = lilac.process.spawn { "sleep", "75.5" }
      lilac.Future():await()]]
    assert.equal("0\tnil\n", child.stdout)
    assert.matches("DeadlockError", child.stderr)
    assert.equal(3, child.status)
  end)
end)

describe("Process:kill and Process:terminate", function()
  it("send signals by name", function()
    for _, name in ipairs { "SIGHUP", "INT", "SIGKILL" } do
      local one <close> = spawn { "sleep", 99 }
      assert.is_true(one:kill(name))
      assert.same({ nil, name == "INT" and "SIGINT" or name }, { one:wait() })
      assert.is_false(one:kill(name))
    end
    local one <close> = spawn { "sleep", 99 }
    one:kill()
    assert.same({ nil, "SIGKILL" }, { one:wait() })
    local other <close> = spawn { "sleep", 99 }
    assert.is_true(other:terminate())
    assert.same({ nil, "SIGTERM" }, { other:wait() })
  end)

  it("check what they are called on", function()
    for name in pairs { kill = 1, terminate = 1, wait = 1, close = 1 } do
      local one <close> = spawn { "true" }
      assert.error_matches(function() one[name]({}) end,
        "bad argument #1 to '" .. name .. "' %(Process expected, got table%)")
      one:wait()
    end
    local one <close> = spawn { "sleep", 99 }
    assert.error_matches(function() one:kill(9) end, "name of a signal expected, got number")
    assert.error_matches(function() one:kill "NOSUCH" end, "got 'NOSUCH'")
  end)
end)

describe("the scope of a Process", function()
  it("ends it, and what it has started", function()
    do
      local one <close> = spawn { "sleep 76.5 & sleep 76.5", shell = true }
      assert.is_not_nil(one.pid)
    end
    assert.equal(0, children())
    eventually(function() return alive "sleep 76.5" == 0 end)
  end)

  it("closes its streams; twice is fine", function()
    local one = spawn { "sleep", "99", stdin = "pipe", stdout = "pipe" }
    one:close()
    one:close()
    raises("ClosedError", one.stdin.write, one.stdin, "x")
    raises("ClosedError", one.stdout.read, one.stdout)
    assert.same({ nil, "SIGTERM" }, { one:wait() })
  end)

  it("is left at the end of its time by a timeout", function()
    raises("TimeoutError", lilac.timeout, 0.05, function()
      local one <close> = spawn { "sleep", 99 }
      one:wait()
    end)
    assert.equal(0, children())
  end)
end)

describe("the end of the program", function()
  it("ends all children but detached ones, whoever holds them", function()
    local child = run_script [[
      local spawn = require "lilac".process.spawn
      local a = spawn { "sleep", "77.5" }
      spawn { "sleep", "77.5" }
      spawn { "trap '' TERM; sleep 77.5; sleep 77.5", shell = true }
      local d = spawn { "sleep", "78.5", detached = true, stdout = "null", stderr = "null" }
      print(d.pid)]]
    assert.equal(0, child.status)
    assert.equal("", child.stderr)
    eventually(function() return alive "sleep 78.5" == 1 end)
    lilac.signal.kill(tonumber(child.stdout), "KILL")
    eventually(function() return alive "sleep 77.5" == 0 end)
  end)

  it("by a signal ends children, too", function()
    local job <close> = script [[
      local lilac = require "lilac"
      lilac.create_task(lilac.process.run, { "sleep", "79.5" })
      local one <close> = lilac.process.spawn { "echo ready; sleep 79.5", shell = true }
      one:wait()]]
    job:wait_for "ready"
    job:kill "INT"
    assert.equal(130, job:wait())
    eventually(function() return alive "sleep 79.5" == 0 end)
  end)

  it("leaves a detached process alone also when its scope is left", function()
    local pid
    do
      local one <close> = spawn { "sleep", "80.5", detached = true }
      pid = one.pid
    end
    eventually(function() return alive "sleep 80.5" == 1 end)
    lilac.signal.kill(pid, "KILL")
    eventually(function() return alive "sleep 80.5" == 0 end)
  end)
end)
