local lilac = require "lilac"
local child = require "lilac.child"
local raises = require "spec.support.raises"
local run = require "spec.support.child"
local settle = require "spec.support.settle"

local function sh(text, ...)
  return child.spawn({ "/bin/sh", "-c", text }, ...)
end

describe("child.spawn", function()
  it("starts a program, and gives the other ends of its pipes", function()
    local one, stdin, stdout <close>, stderr = sh("read x; echo got $x", "pipe", "pipe")
    assert.is_nil(stderr)
    assert.matches("^Child %(%d+%): 0x", tostring(one))
    assert.matches("^Stream %(stdin of /bin/sh%)", tostring(stdin))
    stdin:write "this\n"
    assert.equal("got this\n", stdout:read "a")
    assert.same({ 0 }, { one:wait() })
    assert.matches("^Child %(%d+, ended%)", tostring(one))
  end)

  it("finds a program in the PATH that the child will have", function()
    local dir = os.tmpname()
    os.remove(dir)
    os.execute(("mkdir %s && ln -s /bin/true %s/a_name_of_ours"):format(dir, dir))
    local path = { env = { PATH = "/nosuch::" .. dir } }
    assert.equal(0, child.spawn({ "a_name_of_ours" }, nil, nil, nil, path):wait())
    local err = raises("FileNotFoundError", child.spawn, { "a_name_of_ours" })
    assert.equal("spawn a_name_of_ours: not found in PATH: no such file or directory (ENOENT)",
      err.message)
    os.execute(("touch %s/plain"):format(dir))
    err = raises("PermissionError", child.spawn, { "plain" }, nil, nil, nil, path)
    assert.equal("spawn plain: found in PATH, but no program: permission denied (EACCES)",
      err.message)
    os.execute("rm -r " .. dir)
  end)

  it("tells a missing program, interpreter and directory from each other #native", function()
    local path = os.tmpname()
    local file = assert(io.open(path, "w"))
    file:write "#!/nosuch/interpreter\n"
    file:close()
    os.execute("chmod +x " .. path)
    local function fails(class, text, program, cwd)
      local err = raises(class, child.spawn, { program }, nil, nil, nil, { cwd = cwd })
      assert.equal(("spawn %s%s"):format(program, text), err.message)
      assert.equal("spawn", err.syscall)
    end
    fails("FileNotFoundError", ": no such file or directory (ENOENT)", "/nosuch")
    fails("FileNotFoundError",
      ": the interpreter that it names: no such file or directory (ENOENT)", path)
    fails("FileNotFoundError", ": cwd /nosuch: no such file or directory (ENOENT)", "true",
      "/nosuch")
    fails("NotADirectoryError", ": cwd /etc/passwd: not a directory (ENOTDIR)", "true",
      "/etc/passwd")
    fails("PermissionError", ": permission denied (EACCES)", "/etc/passwd")
    fails("FileNotFoundError", ": no such file or directory (ENOENT)", "bin/nosuch", "/")
    os.execute(("printf data >%s; chmod +x %s"):format(path, path))
    fails("OSError",
      ": neither a binary of this system nor a script with #!: invalid argument (EINVAL)", path)
    os.remove(path)
    assert.equal(0, child.spawn({ "bin/true" }, nil, nil, nil, { cwd = "/" }):wait())
  end)

  it("leaves no descriptor behind when it fails", function()
    local function count()
      local pipe = assert(io.popen(("ls /proc/%d/fd | wc -l")
        :format(io.open("/proc/self/stat"):read "n")))
      return pipe:read "n", pipe:close()
    end
    local before = count()
    for _ = 1, 20 do
      pcall(child.spawn, { "/nosuch" }, "pipe", "pipe", "pipe")
      pcall(child.spawn, { "true" }, "null", "null", "stdout", { cwd = "/nosuch" })
    end
    collectgarbage()
    settle()
    assert.is_true(count() <= before + 1)
  end)

  it("gives nothing of this process but what is asked for", function()
    local file <close> = assert(io.open "/etc/passwd")
    local one, _, stdout <close> = sh([[
      for fd in /proc/self/fd/*; do echo ${fd##*/}; done
      grep -E "Sig(Blk|Ign)" /proc/self/status]], "null", "pipe", "null")
    local text = stdout:read "a"
    one:wait()
    assert.matches("^0\n1\n2\n", text)
    assert.is_nil(text:match("\n" .. 3 .. "\n%d"))
    assert.matches("SigBlk:%s+0000000000000000", text)
    -- Signals 32 and 33 are the C library's own.
    assert.equal(0, tonumber(text:match "SigIgn:%s+(%x+)", 16) & ~(3 << 31))
    assert.is_not_nil(file)
  end)

  it("makes it lead a group and session of its own, unless told otherwise", function()
    local function ids(options)
      local one, _, stdout <close> = sh("read pid name state ppid group session rest "
        .. "</proc/self/stat; echo $pid $group $session", "null", "pipe", nil, options)
      one:wait()
      return one:pid(), stdout:read "l"
    end
    local pid, text = ids()
    assert.equal(("%d %d %d"):format(pid, pid, pid), text)
    pid, text = ids { group = false }
    assert.not_matches(("^%d %d "):format(pid, pid), text)
  end)

  it("has stderr go where stdout goes", function()
    local one, _, stdout <close> = sh("echo a; echo b >&2; echo c >/dev/stderr", nil, "pipe",
      "stdout")
    assert.equal("a\nb\nc\n", stdout:read "a")
    one:wait()
  end)

  it("takes files of io, also its own standard ones in any order", function()
    local path = os.tmpname()
    local file <close> = assert(io.open(path, "w"))
    file:write "first\n"
    assert.equal(0, (sh("echo second; echo third >&2", "null", file, "stdout"):wait()))
    assert.equal("first\nsecond\nthird\n", assert(io.open(path)):read "a")
    os.remove(path)
    local one, _, _, stderr <close> = sh("echo hidden; ls -l /proc/self/fd/0 >&2", io.stderr,
      "null", "pipe")
    assert.matches("%-> .", stderr:read "a")
    one:wait()
  end)

  it("takes streams, which are closed here", function()
    local one, _, stdout = sh("echo from one", "null", "pipe")
    local two, _, result <close> = sh("tr a-z A-Z", stdout, "pipe")
    raises("ClosedError", stdout.read, stdout)
    assert.equal("FROM ONE\n", result:read "a")
    assert.same({ 0 }, { one:wait() })
    assert.same({ 0 }, { two:wait() })
  end)

  it("gives a stream back as it was when it fails #native", function()
    local reader, writer <close> = lilac.pipe.pair()
    pcall(child.spawn, { "/nosuch" }, reader)
    local task = settle.start(reader.read, reader)
    writer:write "still here\n"
    assert.equal("still here", task:await())
  end)

  it("refuses streams that it cannot give away", function()
    local reader, writer <close> = lilac.pipe.pair()
    writer:write "ab"
    assert.equal("a", reader:read(1))
    assert.error_matches(function() sh("", reader) end,
      "stdin: something was read ahead from this Stream")
    reader:read(1)
    local task <close> = settle.start(reader.read, reader, 1 << 30)
    assert.error_matches(function() sh("", reader) end, "stdin: a task reads this Stream")
    task:cancel()
    settle()
    local _ <close> = settle.start(writer.write, writer, ("x"):rep(1 << 20))
    assert.error_matches(function() sh("", nil, writer) end,
      "stdout: this Stream has something to send: flush it before")
    reader:close()
    assert.error_matches(function() sh("", reader) end, "stdin: the Stream is closed")
    local memory <close> = lilac.testing.stream_pair()
    assert.error_matches(function() sh("", memory) end,
      "stdin: this Stream is no descriptor of the system: connect it by a pipe")
  end)

  it("checks its arguments", function()
    local function fails(text, ...)
      local ok, err = pcall(child.spawn, ...)
      assert.is_false(ok)
      assert.matches(text, err, 1, true)
    end
    fails("table expected, got nil")
    fails("program expected, got an empty list", {})
    fails("program: string expected, got number", { 1 })
    fails("argument 2 of the program: string expected, got nil", { "a", "b", nil, "d" })
    fails("argument 1 of the program: string expected, got one with a zero byte", { "a", "b\0" })
    fails("stdin: 'inherit', 'null', 'pipe', a Stream or a file expected, got 'stdout'", { "a" },
      "stdout")
    fails("stderr: 'inherit', 'null', 'pipe', 'stdout', a Stream or a file expected, got 'x'",
      { "a" }, nil, nil, "x")
    fails("stdout: 'inherit', 'null', 'pipe', a Stream or a file expected, got table", { "a" },
      nil, {})
    local file = assert(io.open "/etc/passwd")
    file:close()
    fails("stdin: the file is closed", { "a" }, file)
    local function option(text, options) fails(text, { "a" }, nil, nil, nil, options) end
    option("unknown option 'x'", { x = 1 })
    option("option 'env': table expected, got number", { env = 1 })
    option("option 'env': 'A=B' is no name", { env = { ["A=B"] = "1" } })
    option("option 'env': '' is no name", { env = { [""] = "1" } })
    option("option 'env': name: string expected, got number", { env = { "1" } })
    option("option 'env': value of 'A': string expected, got boolean", { env = { A = true } })
    option("option 'cwd': string expected", { cwd = 1 })
    option("option 'group': boolean expected", { group = 1 })
    option("option 'limit' must be 1 to", { limit = 0 })
  end)
end)

describe("child.spawn, while its arguments change", function()
  it("keeps the strings that it has read", function()
    local text = ("x"):rep(50000)
    local argv = { "printf", "%s", text .. "!" }
    local options = setmetatable({}, { __index = function(_, name)
      argv[3] = nil
      collectgarbage()
      return name == "cwd" and ("/"):rep(1000) .. "tmp" or nil
    end })
    local one, _, stdout <close> = child.spawn(argv, nil, "pipe", nil, options)
    assert.equal(text .. "!", stdout:read "a")
    assert.equal(0, one:wait())
  end)

  it("refuses variables that come while it reads 'env'", function()
    local result = run [[
      local child = require "lilac.child"
      local env = { A = "1" }
      collectgarbage "generational"
      collectgarbage "stop"
      setmetatable({}, { __gc = function() for i = 1, 30000 do env["K" .. i] = "v" end end })
      -- Collects while the options are read.
      local options = setmetatable({ env = env }, { __index = function(_, name)
        if name == "group" then collectgarbage "restart" end
      end })
      print(pcall(child.spawn, { "true" }, "null", "null", "null", options))]]
    assert.equal(0, result.status)
    assert.matches("^false\t.+option 'env' has changed while it was read", result.stdout)
  end)
end)

describe("Child:wait", function()
  it("returns the exit status, or nil and the name of a signal, again and again", function()
    local one = sh "exit 7"
    for _ = 1, 2 do assert.same({ 7 }, { one:wait() }) end
    one = sh "kill -SEGV $$"
    for _ = 1, 2 do assert.same({ nil, "SIGSEGV" }, { one:wait() }) end
    one = sh "kill -40 $$"
    assert.same({ nil, "signal 40" }, { one:wait() })
  end)

  it("lets any number of tasks wait, and can be cancelled", function()
    local one, stdin = sh("read x; exit 5", "pipe")
    local tasks = {}
    for i = 1, 4 do tasks[i] = settle.start(one.wait, one) end
    assert.matches("process:wait", tostring(tasks[1]))
    tasks[2]:cancel()
    settle()
    assert.is_true(tasks[2]:cancelled())
    stdin:close()
    for _, i in ipairs { 1, 3, 4 } do assert.equal(5, (tasks[i]:await())) end
  end)

  it("checks its argument", function()
    local one = sh "exit 0"
    assert.error_matches(function() one.wait(1) end, "Child expected, got number")
    one:wait()
  end)
end)

describe("Child:kill", function()
  it("signals the child and its group, while it runs", function()
    local one, _, stdout <close> = sh("sleep 99 & echo ready; wait", "null", "pipe")
    assert.equal("ready", stdout:read())
    assert.is_true(one:kill "HUP")
    assert.same({ nil, "SIGHUP" }, { one:wait() })
    assert.equal("", stdout:read "a") -- the other one has ended as well
    assert.is_false(one:kill "HUP")
  end)

  it("signals the child alone where it has no group", function()
    local one, _, stdout <close> = sh("sleep 99 & echo $!; wait", "null", "pipe", nil,
      { group = false })
    local other = tonumber(stdout:read())
    one:kill "KILL"
    one:wait()
    lilac.signal.kill(other, "KILL")
    assert.equal("", stdout:read "a")
  end)

  it("checks its arguments", function()
    local one = sh "exit 0"
    assert.error_matches(function() one:kill(9) end, "name of a signal expected, got number")
    one:wait()
  end)
end)

describe("Child:terminate", function()
  it("ends with the child what is left of its group", function()
    local one, _, stdout <close> = sh(
      "(trap '' TERM; echo ready; sleep 99; sleep 99) & wait", "null", "pipe")
    stdout:read()
    assert.is_true(one:terminate())
    assert.same({ nil, "SIGTERM" }, { one:wait() })
    assert.equal("", stdout:read "a")
    assert.is_false(one:terminate())
  end)
end)

describe("Child:reap", function()
  it("lets a child go that was kept, with which its group could still be signalled", function()
    local one, _, stdout <close> = sh("sleep 99 & echo ready", "null", "pipe", nil,
      { kept = true })
    stdout:read()
    assert.same({ 0 }, { one:wait() })
    local stat = ("/proc/%d/stat"):format(one:pid())
    assert.matches("%) Z ", assert(io.open(stat)):read "a")
    one:terminate()
    assert.equal("", stdout:read "a")
    one:reap()
    assert.is_nil(io.open(stat))
    one:reap()
    assert.same({ 0 }, { one:wait() })
  end)
end)
