-- Each program runs in a lilac of its own, with the streams that the spec gives it.

local lilac = require "lilac"
local raises = require "spec.support.raises"

local LILAC = os.getenv "LILAC" or "build/lilac"
local PRE = [[
local lilac = require "lilac"
local stdio = lilac.stdio
local stdin, stdout, stderr = stdio.stdin, stdio.stdout, stdio.stderr
]]

local process = lilac.process
local _ = lilac.stdio -- gives Streams what terminals have

-- Writes a program into a file, which goes when the scope is left.
local function program(source)
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write(PRE, source)
  file:close()
  return setmetatable({ path = path }, { __close = function() os.remove(path) end })
end

-- Runs a program; "$p" in a line of shell stands for it: → the result of process.run.
local function run(source, options)
  local file <close> = program(source)
  options = options or {}
  options.timeout = 60
  if options.line then
    options[1], options.shell = options.line:gsub("%$p", LILAC .. " " .. file.path), true
    options.line = nil
  else
    options[1], options[2] = LILAC, file.path
  end
  return process.run(options)
end

-- Runs a line of shell in a terminal of its own, at which `input` is typed: → what it shows.
local function in_terminal(source, line, input)
  local file <close> = program(source)
  line = line:gsub("%$p", LILAC .. " " .. file.path)
  local result = process.run { "script", "-qec", line, "/dev/null", input = input or "",
    timeout = 60 }
  return (result.stdout:gsub("\r\n", "\n")), result.code
end

local COUNT = [[
  local count, size = 0, 0
  for line in stdin:lines() do count, size = count + 1, size + #line end
  print(count, size)]]

describe("stdio.stdin", function()
  it("gives the lines of a pipe, a file and a socket alike", function()
    for _, how in ipairs { "seq 30000 | $p", "seq 30000 >$0 && $p <$0; rm $0",
      "seq 30000 | socat - EXEC:'$p'" } do
      local path = os.tmpname()
      local result = run(COUNT, { line = how:gsub("%$0", path) })
      assert.equal("30000\t138894\n", result.stdout)
      assert.equal(0, result.code)
      os.remove(path)
    end
  end)

  it("gives the lines of a terminal", function()
    local text = in_terminal(COUNT, "stty -echo; $p", "one\ntwo\n\4")
    assert.matches("2\t6\n", text, 1, true)
  end)

  it("is at its end at /dev/null, and fails where it is closed or a directory", function()
    assert.equal("nil\n", run("print(stdin:read())", { stdin = "null" }).stdout)
    assert.equal("false\tOSError: read stdin: bad file descriptor (EBADF)\n",
      run("print(pcall(stdin.read, stdin))", { line = "$p <&-" }).stdout)
    assert.equal(
      "false\tIsADirectoryError: read stdin: illegal operation on a directory (EISDIR)\n",
      run("print(pcall(stdin.read, stdin))", { line = "$p </" }).stdout)
  end)

  it("lets others run while it waits; a read can be cancelled, and loses nothing", function()
    local file <close> = program [[
      print(lilac.move_on_after(0.01, stdin.read, stdin, 6))
      io.stdout:flush()
      print(stdin:read(6))]]
    local one <close> = process.spawn { LILAC, file.path, stdin = "pipe", stdout = "pipe" }
    one.stdin:write "abc"
    assert.equal("false", one.stdout:read())
    one.stdin:write "def"
    assert.equal("abcdef", one.stdout:read())
  end)

  it("lets one task read at a time, and wakes it when it is closed", function()
    local file <close> = program [[
      local task = lilac.create_task(pcall, stdin.read, stdin)
      lilac.sleep(0.01)
      print(pcall(stdin.read, stdin))
      stdin:close()
      print(task:await())]]
    local one <close> = process.spawn { LILAC, file.path, stdin = "pipe", stdout = "pipe" }
    assert.equal("false\tInvalidStateError: read stdin: task 'Task-2' is at it already "
      .. "(stream:read), and task 'Task-1' came second", one.stdout:read())
    assert.equal("false\tClosedError: read: the Stream is closed", one.stdout:read())
  end)

  it("of a file can be closed while it is read, and read by several programs in turn", function()
    local path = os.tmpname()
    os.execute(("seq 100000 >%s"):format(path))
    local result = run([[
      local task = lilac.create_task(pcall, stdin.read, stdin, "a")
      lilac.sleep(0)
      stdin:close()
      print((select(2, task:await())))]], { line = "$p <" .. path })
    assert.equal("ClosedError: read: the Stream is closed\n", result.stdout)
    result = run("print(#stdin:read 'a')", { line = ("{ head -c 100 >/dev/null; $p; } <%s")
      :format(path) })
    os.remove(path)
    assert.is_true(tonumber(result.stdout) > 500000)
  end)

  it("takes lines of up to a megabyte", function()
    local result = run("print(#stdin:read()) print((pcall(stdin.read, stdin)))",
      { input = ("x"):rep(1 << 20) .. "\n" .. ("x"):rep((1 << 20) + 1) .. "\n" })
    assert.equal("1048576\nfalse\n", result.stdout)
  end)

  it("cannot be written, nor stdout be read", function()
    local result = run([[
      print(pcall(stdin.write, stdin, "x"))
      print(pcall(stdin.shutdown, stdin))
      print(pcall(stdout.read, stdout))]], { stdin = "pipe" })
    assert.equal([[
false	OSError: write stdin: bad file descriptor (EBADF)
false	OSError: shutdown stdin: bad file descriptor (EBADF)
false	OSError: read stdout: bad file descriptor (EBADF)
]], result.stdout)
  end)
end)

describe("stdio.stdout and stdio.stderr", function()
  it("write to a pipe, a file, a socket and a terminal, in order with print", function()
    local source = [[
      for i = 1, 5 do print(i) stdout:write(i, " again\n") io.write "and " end
      stderr:write "to stderr\n"]]
    local expected = "1\n1 again\n"
    for i = 2, 5 do expected = expected .. ("and %d\n%d again\n"):format(i, i) end
    expected = expected .. "and "
    local result = run(source)
    assert.equal(expected, result.stdout)
    assert.equal("to stderr\n", result.stderr)
    local path = os.tmpname()
    run(source, { line = ("{ $p; $p; } >%s 2>/dev/null"):format(path) })
    assert.equal(expected:rep(2), assert(io.open(path)):read "a")
    os.remove(path)
    assert.equal(expected, run(source, { line = "socat -u EXEC:'$p 2>&-' -" }).stdout)
    assert.equal(expected, (in_terminal(source, "$p 2>/dev/null"):gsub("%^D\8\8", "")))
  end)

  it("wait for a slow reader", function()
    local file <close> = program [[
      local task = lilac.create_task(stdout.write, stdout, ("x"):rep(1 << 22))
      for _ = 1, 10 do lilac.sleep(0.001) end
      stderr:write(tostring(task:done()), "\n")
      task:await()
      stderr:write "written\n"]]
    local one <close> = process.spawn { LILAC, file.path, stdout = "pipe", stderr = "pipe" }
    assert.equal("false", one.stderr:read())
    assert.equal(1 << 22, #one.stdout:read "a")
    assert.equal("written", one.stderr:read())
  end)

  it("lose nothing at the end of the program, however slow the reader", function()
    local file <close> = program [[
      for i = 1, 100 do stdout:write(("x"):rep(1199), "\n") end
      stderr:write "the end\n"]]
    local one <close> = process.spawn { LILAC, file.path, stdout = "pipe", stderr = "pipe" }
    assert.equal("the end", one.stderr:read())
    lilac.sleep(1.1) -- a stream of another kind would be dropped by now
    assert.equal(120000, #one.stdout:read "a")
    assert.equal(0, (one:wait()))
  end)

  it("hold up a program that a signal ends no more than that", function()
    local file <close> = program [[
      local task = lilac.create_task(stdout.write, stdout, ("x"):rep(1 << 20))
      lilac.sleep(0.001)
      stderr:write "ready\n"
      task:await()]]
    local one <close> = process.spawn { LILAC, file.path, stdout = "pipe", stderr = "pipe" }
    one.stderr:read()
    one:kill "SIGTERM"
    assert.same({ nil, "SIGTERM" }, { one:wait() })
  end)

  it("end a program whose output nobody reads any more, quietly", function()
    local result = run("for i = 1, 1e6 do stdout:write(i, '\\n') end",
      { line = "{ $p; echo $? >&2; } | head -n 1" })
    assert.equal("1\n", result.stdout)
    assert.equal("141\n", result.stderr)
    result = run([[
      lilac.signal.handle("PIPE", function() end)
      lilac.sleep(0.05)
      stderr:write(tostring(select(2, pcall(stdout.write, stdout, "x"))))]], { line = "$p | true" })
    assert.equal("BrokenPipeError: write stdout: broken pipe (EPIPE)", result.stderr)
  end)

  it("raise what is wrong: a full disk, a closed descriptor", function()
    local source = "stderr:write(tostring(select(2, pcall(stdout.write, stdout, 'x'))))"
    assert.equal("OSError: write stdout: no space left on device (ENOSPC)",
      run(source, { line = "$p >/dev/full" }).stderr)
    assert.equal("OSError: write stdout: bad file descriptor (EBADF)",
      run(source, { line = "$p >&-" }).stderr)
  end)

  it("leave print alone when they are closed; shut down, they end for the reader", function()
    assert.equal("a\nb\n", run("stdout:write 'a\\n' stdout:close() print 'b'").stdout)
    for _, line in ipairs { "$p", "socat -u EXEC:'$p' -" } do
      local result = run([[
        stdout:write "a\n"
        stdout:shutdown()
        print "b"
        io.stdout:flush()
        print(pcall(stdout.write, stdout, "c"))]], { line = line })
      assert.equal("a\n", result.stdout)
    end
    local file <close> = program "stdout:write 'a\\n' stdout:shutdown() stdin:read()"
    local one <close> = process.spawn { LILAC, file.path, stdin = "pipe", stdout = "pipe" }
    assert.equal("a\n", one.stdout:read "a") -- though it goes on
  end)

  it("are made anew when they were closed", function()
    local result = run [[
      stdout:write "a\n"
      stdout:close()
      print(pcall(stdout.write, stdout, "b"))
      stdio.stdout:write "c\n"]]
    assert.equal("a\nfalse\tClosedError: write: the Stream is closed\nc\n", result.stdout)
  end)

  it("are made once, and there are no others", function()
    assert.equal("true\tnil\tStream (stdout)",
      run("print(stdio.stdout == stdout, stdio.stdlog, (tostring(stdout):gsub(':.*', '')))")
        .stdout:sub(1, -2))
  end)
end)

describe("the open files that stdio shares with other processes", function()
  -- Bit 04000 of the flags is O_NONBLOCK.
  local FLAGS = [[
    local task = lilac.create_task(stdin.read, stdin)
    stdout:write "begin\n"
    stderr:write ""
    lilac.sleep(0.01)
    os.execute "grep -h flags /proc/self/fdinfo/[012]"
    stdout:write "end\n"]]

  local function check(text)
    local flags = text:match "begin\n(.*)end\n"
    assert.is_not_nil(flags, text)
    for digits in flags:gmatch "(%d+)" do
      assert.equal(0, tonumber(digits, 8) & 0x800, text)
    end
    assert.equal(3, select(2, flags:gsub("flags", "")))
  end

  it("stay as they are: pipes, sockets and terminals", function()
    check(run(FLAGS, { line = "sleep 0.2 | $p 2>&1" }).stdout)
    check(run(FLAGS, { line = "sleep 0.2 | socat -t30 - EXEC:'$p',stderr" }).stdout)
    check((in_terminal(FLAGS, "$p", "")))
  end)

  it("also where they cannot be opened again", function()
    local user = process.run { "id", "-u" }.stdout
    if user ~= "0\n" then pending "only root can become another user" end
    local dir = os.tmpname()
    os.remove(dir)
    os.execute(("mkdir %s && cp %s %s/lilac && chmod -R a+rx %s"):format(dir, LILAC, dir, dir))
    local file <close> = program [[
      stdout:write(("y"):rep(300000), "\n")
      for line in stdin:lines() do stdout:write(#line, "\n") end
      stdout:flush()
      os.execute "grep -h flags /proc/self/fdinfo/[01]"]]
    os.execute("chmod a+r " .. file.path)
    local result = process.run { ("(echo abc; head -c 100000 /dev/zero) | setpriv --reuid 65534 "
      .. "--clear-groups %s/lilac %s"):format(dir, file.path), shell = true, timeout = 60 }
    os.execute("rm -r " .. dir)
    assert.equal("", result.stderr)
    assert.equal(300000, #result.stdout:match "^y*")
    assert.matches("^\n3\n100000\nflags", result.stdout:sub(300001))
    for digits in result.stdout:gmatch "flags:%s+(%d+)" do
      assert.equal(0, tonumber(digits, 8) & 0x800)
    end
  end)

  it("go to children as they are", function()
    local result = run([[
      stdout:write "from us\n"
      local one = lilac.process.spawn { "cat", stdin = stdin, stdout = stdout, stderr = stdout }
      one:wait()
      stdout:write "us again\n"]], { input = "from stdin\n" })
    assert.equal("from us\nfrom stdin\nus again\n", result.stdout)
  end)
end)

describe("Stream:set_mode", function()
  local STATE = "stty -a | grep -oE -- '-?(icanon|echo|isig|icrnl)\\b' | tr '\\n' ' '; echo"
  local NORMAL = "icrnl isig icanon echo \n"

  it("gives keys as they are typed", function()
    local file <close> = program [[
      stdin:set_mode "raw"
      print "ready"
      print(("%q"):format(stdin:read(3)))
      os.execute(arg[1])
      stdin:set_mode "cbreak"
      os.execute(arg[1])
      stdin:set_mode "normal"
      os.execute(arg[1])]]
    local one <close> = process.spawn { "script", "-qec", ('%s %s "%s"'):format(LILAC, file.path,
      STATE), "/dev/null", stdin = "pipe", stdout = "pipe" }
    assert.equal("ready\r", one.stdout:read())
    one.stdin:write "a\3\r"
    assert.equal('"a\\3\\13"\n-icrnl -isig -icanon -echo \n' ..
      "icrnl isig -icanon -echo \n" .. NORMAL, (one.stdout:read "a":gsub("\r\n", "\n")))
  end)

  it("ends with the stream, the program, an error and any signal", function()
    for what, source in pairs {
      close = "stdin:close() lilac.sleep(0) lilac.sleep(0.01) os.execute(arg[1]) stdin = nil",
      exit = "", os_exit = "os.exit(0)", error = "error 'an error'", TERM = "",
      again = "stdout:set_mode 'cbreak'" } do
      local text = in_terminal("stdin:set_mode 'raw'\n" .. source, ('$p "%s" 2>/dev/null; %s')
        :format(STATE, STATE))
      assert.equal(NORMAL:rep(what == "close" and 2 or 1), (text:gsub("^%^D\8\8", "")), what)
    end
    for _, name in ipairs { "TERM", "INT", "HUP", "USR1", "ABRT" } do
      local text = in_terminal(([[
        stdin:set_mode 'raw'
        local _ <close> = setmetatable({}, { __close = function()
          for _ = 1, 3 do lilac.signal.raise "%s" lilac.sleep(1) end
        end })
        lilac.signal.raise "%s"
        lilac.sleep(1)]]):format(name, name), "$p >/dev/null 2>&1; " .. STATE)
      assert.equal(NORMAL, (text:gsub("^.*\n(.*\n)$", "%1"):gsub("^%^D\8\8", "")), name)
    end
  end)

  it("is for terminals", function()
    local err = raises("OSError", function()
      local reader <close> = lilac.pipe.pair()
      reader:set_mode "raw"
    end)
    assert.equal("set_mode pipe (reading): inappropriate ioctl for device (ENOTTY)", err.message)
    assert.equal("false\tset_mode stdin: inappropriate ioctl for device (ENOTTY)\n", run([[
      local ok, err = pcall(stdin.set_mode, stdin, "raw")
      print(ok, err.message)]]).stdout)
  end)

  it("checks its arguments", function()
    local reader <close> = lilac.pipe.pair()
    assert.error_matches(function() reader:set_mode "rare" end, "invalid option 'rare'")
    assert.error_matches(function() reader.set_mode(1, "raw") end, "Stream expected, got number")
    reader:close()
    raises("ClosedError", reader.set_mode, reader, "raw")
  end)
end)

describe("Stream:winsize and Stream:isatty", function()
  it("tell of a terminal, also when it changes", function()
    local text = in_terminal([[
      print(stdin:isatty(), stdout:isatty())
      print(stdout:winsize())
      os.execute "(sleep 0.05; stty -F /dev/tty cols 55 rows 11) &"
      for _ in lilac.signal.iter "WINCH" do
        if select(2, stdout:winsize()) == 11 then break end
      end
      print(stdout:winsize())]], "stty cols 132 rows 43; $p")
    assert.matches("true\ttrue\n132\t43\n55\t11\n", text, 1, true)
  end)

  it("are for terminals", function()
    local reader <close> = lilac.pipe.pair()
    assert.is_false(reader:isatty())
    local err = raises("OSError", reader.winsize, reader)
    assert.equal("winsize pipe (reading): inappropriate ioctl for device (ENOTTY)", err.message)
    reader:close()
    raises("ClosedError", reader.isatty, reader)
    raises("ClosedError", reader.winsize, reader)
  end)
end)
