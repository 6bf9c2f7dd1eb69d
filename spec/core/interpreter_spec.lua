-- The interpreter as a process: command line, environment, exit status, what stderr says.

local run = require "spec.support.child"

local LILAC = os.getenv "LILAC" or "build/lilac"

local function quote(text) return "'" .. text:gsub("'", "'\\''") .. "'" end

-- Runs `command` in a shell, where $L is lilac → output (with stderr), status.
local function shell(command)
  local pipe = io.popen(("L=%s; { %s\n} 2>&1"):format(quote(LILAC), command))
  local output = pipe:read "a"
  local _, kind, status = pipe:close()
  return output, kind == "signal" and 128 + status or status
end

local function lua(code, args)
  return shell(("timeout -s KILL 20 $L %s -e %s"):format(args or "", quote(code)))
end

local PRE = 'local lilac = require "lilac"\n'

describe("the command line", function()
  it("gives the arguments to the script as ... and as arg", function()
    local child = run("print(...) print(arg[1], arg[2], #arg)", { args = "a 'b c'" })
    assert.equal("a\tb c\na\tb c\t2\n", child.stdout)
    assert.equal(0, child.status)
  end)

  it("puts the script at arg[0], the interpreter and its options below", function()
    local child = run("print(arg[0] ~= nil, arg[-1], arg[-2], arg[-3], arg[-4])",
      { options = "-W -e 'X=1'" })
    assert.equal(("true\tX=1\t-e\t-W\t%s\n"):format(LILAC), child.stdout)
  end)

  it("skips a #! line, and counts it", function()
    local child = run("#!/usr/bin/env lilac\nprint(debug.getinfo(1, 'l').currentline)")
    assert.equal("2\n", child.stdout)
  end)

  it("reads the script from stdin, with '-' also arguments", function()
    assert.equal("1\n", (shell "echo 'print(1)' | $L"))
    assert.equal("a\t-\n", (shell "echo 'print(..., arg[0])' | $L - a"))
  end)

  it("takes a file called '-' after '--'", function()
    local output, status = shell "cd /tmp && $L -- - </dev/null"
    assert.equal(1, status)
    assert.matches("%-: No such file", output)
  end)

  it("runs every -e in order, in one state, before the script", function()
    assert.equal("1\n2\n", (shell "$L -e 'x = 1' -e 'print(x)' -e'print(x + 1)'"))
    assert.equal("7\n", run("print(y)", { options = "-e 'y = 7'" }).stdout)
  end)

  it("requires modules with -l, also under another name", function()
    assert.equal("true\ttrue\n",
      (shell "$L -lstring -l m=math -e 'print(string.rep ~= nil, m == math)'"))
    local output, status = shell "$L -l nosuchmodule -e 'print(1)'"
    assert.equal(1, status)
    assert.matches("module 'nosuchmodule' not found", output)
  end)

  it("awaits in every chunk: -e, LUA_INIT, a module of -l", function()
    local output, status = shell([[LUA_INIT='require "lilac".sleep(0.001) print(0)' \
      LUA_PATH='/nowhere/?.lua' $L -e 'package.preload.m = function()
      require "lilac".sleep(0) print(1) return 2 end' -l m -e 'require "lilac".sleep(0) print(m)']])
    assert.equal("0\n1\n2\n", output)
    assert.equal(0, status)
  end)

  it("prints versions with -v and goes on", function()
    local output, status = shell "$L -v -e 'print(5)'"
    assert.matches("^lilac %S+ %(Lua 5%.4%.%d+, libuv [%d.]+%)\n5\n$", output)
    assert.equal(0, status)
    assert.equal(0, select(2, shell "$L --version"))
  end)

  it("prints its options with --help", function()
    local output, status = shell "$L --help"
    assert.equal(0, status)
    for _, option in ipairs { "-e", "-l", "-E", "-W", "--debug", "--grace", "--shuffle" } do
      assert.truthy(output:find(option, 1, true), option)
    end
  end)

  for what, command in pairs {
    ["an unknown option"] = "-z", ["an unknown long option"] = "--zzz",
    ["-e without code"] = "-e", ["-l without a module"] = "-l", ["interaction"] = "-i",
    ["a grace that is no number"] = "--grace x", ["a negative grace"] = "--grace -1",
    ["a seed that is no integer"] = "--shuffle 1.5", ["--grace without a number"] = "--grace",
  } do
    it("refuses " .. what .. " with status 2", function()
      local output, status = shell("$L " .. command .. " </dev/null")
      assert.equal(2, status)
      assert.matches("^lilac: ", output)
    end)
  end

  it("turns warnings on with -W", function()
    assert.equal("Lua warning: w\n", (shell "$L -W -e 'warn(\"w\")'"))
    assert.equal("", (shell "$L -e 'warn(\"w\")'"))
  end)
end)

describe("the environment", function()
  it("gives LUA_INIT, as code or as a file, before all else", function()
    assert.equal("3\n", (shell "LUA_INIT='X = 3' $L -e 'print(X)'"))
    local path = os.tmpname()
    local file = io.open(path, "w")
    file:write "X = (X or 0) + 1"
    file:close()
    assert.equal("1\n", (shell(("LUA_INIT=@%s $L -e 'print(X)'"):format(path))))
    os.remove(path)
  end)

  it("prefers LUA_INIT_5_4", function()
    assert.equal("4\n", (shell "LUA_INIT_5_4='X = 4' LUA_INIT='X = 3' $L -e 'print(X)'"))
  end)

  it("lets LUA_INIT see arg", function()
    assert.equal("v\n", (shell "echo '' >/dev/null; LUA_INIT='print(arg[1])' $L - v </dev/null"))
  end)

  it("names LUA_INIT in its errors, and ends with 1", function()
    local output, status = shell "LUA_INIT='error \"m\"' $L -e 'print(1)'"
    assert.matches("^lilac: LUA_INIT:1: m\nstack traceback:\n", output)
    assert.equal(1, status)
    output, status = shell "LUA_INIT='x x' $L -e 'print(1)'"
    assert.matches("^lilac: LUA_INIT:1: syntax error", output)
    assert.equal(1, status)
  end)

  it("gives LUA_PATH and LUA_CPATH, with ;; for the default", function()
    assert.equal("x\ty\n",
      (shell "LUA_PATH=x LUA_CPATH=y $L -e 'print(package.path, package.cpath)'"))
    assert.matches("^a;.*;b\n$", (shell "LUA_PATH='a;;b' $L -e 'print(package.path)'"))
    assert.equal("z\n", (shell "LUA_PATH_5_4=z LUA_PATH=x $L -e 'print(package.path)'"))
  end)

  it("is ignored with -E", function()
    local output = shell "LUA_INIT='print(1)' LUA_PATH=x $L -E -e 'print(package.path ~= \"x\")'"
    assert.equal("true\n", output)
  end)
end)

describe("an error of main", function()
  local function fails(code, pattern)
    local output, status = lua(code)
    assert.equal(1, status, output)
    assert.matches(pattern, output)
    return output
  end

  it("is printed with its traceback, and the status is 1", function()
    local child = run("local function f() error 'deep' end\nf()", { name = "e.lua" })
    assert.equal(1, child.status)
    assert.equal("", child.stdout)
    assert.equal([[
lilac: e.lua:1: deep
stack traceback:
	[C]: in function 'error'
	e.lua:1: in local 'f'
	e.lua:2: in main chunk
	[C]: in ?
]], child.stderr)
  end)

  it("may be any value", function()
    fails("error('text', 0)", "^lilac: text\n")
    fails("error(42)", "^lilac: 42\n")
    fails("error(nil)", "^lilac: <no error object>\n")
    fails("error()", "^lilac: <no error object>\n")
    fails("error({})", "^lilac: %(error object is a table value%)\n")
    fails("error(true)", "^lilac: %(error object is a boolean value%)\n")
    fails("error(setmetatable({}, {__tostring = function() return 'mine' end}))", "^lilac: mine\n")
    fails("error(setmetatable({}, {__tostring = function() error 'x' end}))",
      "^lilac: %(error object is a table value%)\n")
    fails("error(setmetatable({}, {__tostring = function() return 1 end}))",
      "^lilac: %(error object is a table value%)\n")
  end)

  it("of syntax, or a script that cannot be read, has no traceback", function()
    local output, status = lua "x ="
    assert.equal("lilac: (command line):1: unexpected symbol near <eof>\n", output)
    assert.equal(1, status)
    output, status = shell "$L /nonexistent.lua"
    assert.equal("lilac: cannot open /nonexistent.lua: No such file or directory\n", output)
    assert.equal(1, status)
    assert.equal(1, select(2, shell "$L /"))
  end)

  it("is printed after what the <close> variables do", function()
    local output = fails([[
      local x <close> = setmetatable({}, { __close = function(_, err) print("closing", err) end })
      error("e", 0)]], "closing\te\n")
    assert.matches("lilac: e\n", output)
  end)

  it("shows the way through awaiting and creating tasks", function()
    local child = run(PRE .. [[
local function work() lilac.sleep(0) error "in task" end
local function start() return lilac.create_task(work) end
local task = start()
local function wait() return (task:await()) end
wait()]], { name = "t.lua" })
    assert.equal(1, child.status)
    assert.equal([[
lilac: t.lua:2: in task
stack traceback:
	[C]: in function 'error'
	t.lua:2: in function <t.lua:2>
task 'Task-2' created at t.lua:3, awaited from:
	[C]: in method 'await'
	t.lua:5: in local 'wait'
	t.lua:6: in main chunk
	[C]: in ?
]], child.stderr)
  end)

  it("is that of arg when it is no table any more", function()
    local child = run("print(1)", { options = "-e 'arg = 1'" })
    assert.equal(1, child.status)
    assert.matches("^lilac: 'arg' is not a table\n", child.stderr)
  end)
end)

describe("os.exit", function()
  local function exits(status, code)
    local output, got = lua(PRE .. code)
    assert.equal(status, got, output)
    return output
  end

  it("ends with any status", function()
    exits(7, "os.exit(7) print 'no'")
    exits(0, "os.exit()")
    exits(0, "os.exit(true)")
    exits(1, "os.exit(false)")
    exits(255, "os.exit(-1)")
    exits(0, "os.exit(0, true)")
    exits(1, "os.exit('x')") -- an argument error
  end)

  for where, code in pairs {
    ["a task"] = "lilac.create_task(function() os.exit(5) end) lilac.sleep(9)",
    ["a task that main awaits"] = "lilac.create_task(function() os.exit(5) end):await()",
    ["a task of a group"] =
      "lilac.TaskGroup(function(g) g:create_task(function() os.exit(5) end) lilac.sleep(9) end)",
    ["a task of gather"] = "lilac.gather(function() os.exit(5) end, function() lilac.sleep(9) end)",
    ["a timeout"] = "lilac.timeout(9, os.exit, 5)",
    ["a callback"] = "lilac.call_soon(function() os.exit(5) end) lilac.sleep(9)",
    ["a timer"] = "lilac.call_later(0.001, function() os.exit(5) end) lilac.sleep(9)",
    ["a done callback"] = [[lilac.create_task(print):add_done_callback(function() os.exit(5) end)
      lilac.sleep(9)]],
    ["pcall"] = "pcall(os.exit, 5)",
    ["pcall in pcall"] = "pcall(pcall, os.exit, 5)",
    ["xpcall, past the handler"] = "xpcall(os.exit, function() print 'no' end, 5)",
    ["a wrapped coroutine"] = "coroutine.wrap(os.exit)(5)",
    ["a resumed coroutine"] = "print(coroutine.resume(coroutine.create(os.exit), 5))",
    ["table.sort"] = "table.sort({3, 2, 1}, function() os.exit(5) end)",
    ["string.gsub"] = "string.gsub('abc', '.', function() os.exit(5) end)",
    ["__tostring"] = "tostring(setmetatable({}, {__tostring = function() os.exit(5) end}))",
    ["__index"] = "local _ = setmetatable({}, {__index = function() os.exit(5) end}).x",
    ["__close"] =
      "do local x <close> = setmetatable({}, {__close = function() os.exit(5) end}) end",
    ["__close while an error unwinds"] = [[
      local x <close> = setmetatable({}, {__close = function() os.exit(5) end}) error 'e']],
    ["clean-up in a group whose task has failed"] = [[
      pcall(lilac.TaskGroup, function(tg)
        tg:create_task(error, "e")
        local x <close> = setmetatable({}, {__close = function() os.exit(5) end})
        lilac.sleep(9)
      end)]],
    ["a module"] = "package.preload.m = function() os.exit(5) end require 'm'",
    ["a debug hook"] = "debug.sethook(function() debug.sethook() os.exit(5) end, 'l')\nlocal x = 1",
    ["a finaliser"] = [[setmetatable({}, {__gc = function() os.exit(5) end})
      collectgarbage() collectgarbage() lilac.sleep(9)]],
    ["the exception handler"] = [[lilac.set_exception_handler(function() os.exit(5) end)
      lilac.call_soon(error, 'e') lilac.sleep(9)]],
  } do
    it("ends the process from " .. where, function()
      local output = exits(5, code .. "\nprint 'no'")
      assert.is_nil(output:find "no\n", output)
    end)
  end

  it("prints nothing of its own, wherever it unwinds", function()
    assert.equal("",
      exits(5, "lilac.gather(function() os.exit(5) end, function() lilac.sleep(9) end)"))
    assert.equal("", exits(5, "lilac.create_task(function() os.exit(5) end):await()"))
  end)

  it("runs the <close> variables of all tasks, which may await", function()
    local output = exits(3, [[
      local function guard(name)
        return setmetatable({}, { __close = function() lilac.sleep(0.001) print(name) end })
      end
      lilac.create_task(function() local _ <close> = guard "task" lilac.sleep(9) end)
      lilac.sleep(0.001)
      local _ <close> = guard "main"
      os.exit(3)]])
    assert.truthy(output:find "main\n")
    assert.truthy(output:find "task\n")
  end)

  it("keeps its first status when it is called twice", function()
    exits(3, [[local _ <close> = setmetatable({}, { __close = function() os.exit(4) end })
      os.exit(3)]])
  end)

  it("can be put off, not undone, by lilac.pcall", function()
    local output = exits(3, "print((lilac.pcall(os.exit, 3))) print 'on' lilac.sleep(1) print 'no'")
    assert.equal("false\non\n", output)
  end)

  it("flushes what was written", function()
    assert.equal("text", exits(3, "io.write 'text' os.exit(3)"))
  end)
end)

describe("the exit status", function()
  it("is 1 when not even the loop can be opened, which is told", function()
    local child = run("print 'no'", { env = [[sh -c 'ulimit -n 7; exec "$@"' sh]] })
    assert.matches("^lilac: OSError: uv_[%w_]+: too many open files %(EMFILE%)\n$", child.stderr)
    assert.equal("", child.stdout)
    assert.equal(1, child.status)
  end)

  it("is 1 when nobody took the error of a task", function()
    local child = run(PRE .. "lilac.create_task(error, 'lost') lilac.sleep(0.001)")
    assert.equal(1, child.status)
    assert.matches("nobody took its error: lost\n", child.stderr)
  end)

  it("is 1 when a callback failed", function()
    assert.equal(1, run(PRE .. "lilac.call_soon(error, 'oops') lilac.sleep(0.001)").status)
  end)

  it("is 0 when main ends though tasks run on: they are cancelled", function()
    local child = run(PRE .. [[
      lilac.create_task(function()
        local _ <close> = setmetatable({}, { __close = function() print "cancelled" end })
        lilac.sleep(99)
      end)
      lilac.sleep(0.001)]])
    assert.equal(0, child.status)
    assert.equal("cancelled\n", child.stdout)
    assert.equal("", child.stderr)
  end)
end)

describe("the standard descriptors", function()
  it("may be closed", function()
    assert.equal(0, select(2, shell "$L -e 'print(1)' >&-"))
    assert.equal(0, select(2, shell "$L -e 'print(1)' <&-"))
    assert.equal(1, select(2, shell "$L -e 'error(1)' 2>&-"))
    assert.equal(0, select(2, shell "$L -e 'require \"lilac\".sleep(0.001)' <&- >&- 2>&-"))
  end)

  it("fail as closed ones do when they are", function()
    local output = shell [[$L -e 'io.stderr:write(tostring(select(2, io.write("x"):flush())))' >&-]]
    assert.equal("Bad file descriptor", output)
  end)
end)

describe("a filter whose output nobody reads any more", function()
  local function piped(code, reader)
    return (shell(("{ timeout -s KILL 20 $L -e %s; echo $? >&2; } | %s"):format(quote(PRE .. code),
      reader or "head -n 1")))
  end

  it("ends by SIGPIPE, though print tells of no error", function()
    assert.equal("1\n141\n", piped "while true do print(1) end")
  end)

  it("is cancelled first, whichever task prints", function()
    assert.equal("1\nCancelledError: cancelled by SIGPIPE\n141\n", piped [[
      local _ <close> = setmetatable({}, { __close = function(_, err)
        io.stderr:write(tostring(err), "\n")
      end })
      lilac.create_task(function() while true do print(1) lilac.sleep(0) end end)
      lilac.sleep(99)]])
  end)

  it("goes on where SIGPIPE was ignored from the start", function()
    assert.equal("1\n0\n", (shell [[trap '' PIPE
      { $L -e 'for _ = 1, 1e5 do print(1) end'; echo $? >&2; } | head -n 1]]))
  end)

  it("is not meant by a broken pipe that is not its output", function()
    local output, status = lua [[
      local pipe = io.popen("exec true", "w")
      os.execute "sleep 0.05"
      print((select(2, pipe:write("x"):flush())))
      print "goes on"]]
    assert.equal("Broken pipe\ngoes on\n", output)
    assert.equal(0, status)
  end)
end)

describe("stock Lua", function()
  it("loads Debian's C modules", function()
    assert.equal("[1,2]\n", (lua "print(require 'cjson'.encode({1, 2}))"))
    assert.equal("3\n",
      (lua "local l = require 'lpeg' print(l.match(l.R '09' ^ 1 / tonumber, '3x'))"))
    assert.equal("directory\n", (lua "print(require 'lfs'.attributes('/').mode)"))
  end)

  it("has its coroutine, debug and io libraries whole", function()
    local names = [[for _, lib in ipairs {"coroutine", "debug", "io", "os", "string", "table",
      "math", "utf8", "package"} do for k in pairs(_G[lib]) do io.write(lib, ".", k, "\n") end end
      for k in pairs(_G) do io.write(k, "\n") end]]
    local function sorted(text)
      local lines = {}
      for line in text:gmatch "[^\n]+" do lines[#lines + 1] = line end
      table.sort(lines)
      return lines
    end
    local pipe = io.popen(("command -v lua5.4 >/dev/null && lua5.4 -e %s"):format(quote(names)))
    local stock = sorted(pipe:read "a")
    pipe:close()
    local ours = {}
    for _, name in ipairs(sorted((lua(names)))) do ours[name] = true end
    for _, name in ipairs(stock) do assert.is_true(ours[name] or false, name) end
  end)
end)
