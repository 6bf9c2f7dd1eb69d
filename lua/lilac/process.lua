--- Child processes. What starts and reaps them is C (lilac.child); here are the options, the
--- feeding and reading of `run`, and the way in which a process is ended.

local lilac = require "lilac"
local child = require "lilac.child"
local errors = lilac.errors

local GRACE = 3           -- seconds between SIGTERM and SIGKILL
local TAIL = 1000         -- bytes of stderr that a ProcessError shows
local COMMAND_LENGTH = 60 -- bytes of a command in errors

local CHILD_OPTIONS = { "cwd", "env", "group", "limit" }
local COMMON = { "grace", "shell", "stdin", "stdout", "stderr", table.unpack(CHILD_OPTIONS) }
local SPAWN_OPTIONS = { "detached", table.unpack(COMMON) }
local RUN_OPTIONS = { "capture", "check", "input", "timeout", table.unpack(COMMON) }
table.sort(SPAWN_OPTIONS)
table.sort(RUN_OPTIONS)

local TYPES = {
  capture = "boolean", check = "boolean", detached = "boolean", grace = "number",
  group = "boolean", input = "string", limit = "number", shell = "boolean", timeout = "number",
}

local process = {}

-- Waiting for it takes no time, but raises where nobody can wait, or has been cancelled.
local now = lilac.Event()
now:set()

-- ---- options ------------------------------------------------------------------------------------

--- What is wrong with an option; nil: nothing.
local function wrong_value(option, value)
  local expected = TYPES[option]
  if value ~= nil and expected and type(value) ~= expected then
    return ("option '%s': %s expected, got %s"):format(option, expected, type(value))
  end
  if (option == "grace" or option == "timeout") and value and (value < 0 or value ~= value) then
    return ("option '%s': seconds from 0 on expected, got %s"):format(option, value)
  end
  if option == "limit" and value and not (math.tointeger(value) and value > 0) then
    return ("option 'limit': positive number of bytes expected, got %s"):format(value)
  end
end

--- What is wrong with the argument of `run` or `spawn`; nil: nothing. What is numbered in it is the
--- command.
local function wrong(options, known)
  if type(options) ~= "table" then
    return ("table of a program, its arguments and options expected, got %s"):format(type(options))
  end
  local count = rawlen(options)
  if count == 0 then return "program expected, got none" end
  local rest = {}
  for key, value in next, options do
    if not (math.type(key) == "integer" and key >= 1 and key <= count) then rest[key] = value end
  end
  for _, option in ipairs(known) do
    local what = wrong_value(option, rest[option])
    if what then return what end
    rest[option] = nil
  end
  local unknown = next(rest)
  if unknown == nil then return nil end
  return ("unknown option '%s'; known: %s"):format(unknown, table.concat(known, ", "))
end

--- Called by `run` and `spawn`: the error is their caller's.
local function check(name, options, known)
  local what = wrong(options, known)
  if what then error(("bad argument #1 to '%s' (%s)"):format(name, what), 3) end
end

local function text_of(value)
  return math.type(value) and tostring(value) or value
end

local function argv_of(options)
  local argv = options.shell and { "/bin/sh", "-c" } or {}
  for _, part in ipairs(options) do argv[#argv + 1] = text_of(part) end
  if options.shell then table.insert(argv, 4, "sh") end -- $0; what follows is $1 and on
  return argv
end

--- How errors call it: "gcc -c x.c".
local function command_of(options)
  local text = table.concat(options, " ")
  return #text > COMMAND_LENGTH and text:sub(1, COMMAND_LENGTH - 3) .. "..." or text
end

local function env_of(env)
  if type(env) ~= "table" then return env end -- for C to refuse
  local texts = {}
  for name, value in next, env do texts[name] = text_of(value) end
  return texts
end

-- ---- Process ------------------------------------------------------------------------------------

---@class lilac.Process
---@field pid integer
---@field stdin? lilac.Stream to the process; with "pipe" alone, as the other two
---@field stdout? lilac.Stream from it
---@field stderr? lilac.Stream
local Process = { __name = "Process" }
Process.__index = Process

local function check_self(self, name)
  if getmetatable(self) ~= Process then
    error(("bad argument #1 to '%s' (Process expected, got %s)"):format(name, type(self)), 3)
  end
end

--- An error of C as one of ours: arguments have other numbers there.
local function as_ours(name, err)
  local what = type(err) == "string" and err:match "bad argument #%d+ to '[^']*' %((.*)%)$"
  return what and ("bad argument #1 to '%s' (%s)"):format(name, what) or err
end

--- Called by `run` and `spawn`, as check. `kept`: it is to be reaped by hand.
local function start(name, options, ends, kept)
  local passed = { kept = kept, detached = options.detached }
  for _, option in ipairs(CHILD_OPTIONS) do passed[option] = options[option] end
  passed.env = env_of(options.env)
  local results = table.pack(pcall(child.spawn, argv_of(options), ends.stdin, ends.stdout,
    ends.stderr, passed))
  if not results[1] then error(as_ours(name, results[2]), 3) end
  return setmetatable({
    pid = results[2]:pid(),
    stdin = results[3],
    stdout = results[4],
    stderr = results[5],
    _child = results[2],
    _grace = options.grace or GRACE,
    _detached = options.detached,
  }, Process)
end

function Process:__tostring()
  check_self(self, "tostring")
  return (tostring(self._child):gsub("Child", "Process"))
end

--- Waits for the end. Cancelling leaves the process alone. Any number of tasks may wait.
---@async
---@return integer? code exit status; nil when a signal ended it
---@return string? signal its name
function Process:wait()
  check_self(self, "wait")
  return self._child:wait()
end

--- Sends a signal to the process and all of its group.
---@param signal? string default "SIGKILL"
---@return boolean sent false: it has ended
function Process:kill(signal)
  check_self(self, "kill")
  local ok, sent = pcall(self._child.kill, self._child, signal == nil and "SIGKILL" or signal)
  if not ok then error(as_ours("kill", sent), 2) end
  return sent
end

--- Sends SIGTERM to the process and all of its group. What is left of the group when the process
--- has ended gets SIGKILL.
---@return boolean sent false: it has ended
function Process:terminate()
  check_self(self, "terminate")
  return self._child:terminate()
end

--- SIGTERM, and after the grace SIGKILL; also when the caller has no time to wait for that.
local function finish(self)
  local one = self._child
  if not one:terminate() then return end
  local _ <close> = setmetatable({}, { __close = function() one:kill "SIGKILL" end })
  if lilac.move_on_after(self._grace, one.wait, one) then return end
  one:kill "SIGKILL"
  one:wait()
end

--- Closes the streams. Ends the process if it runs: SIGTERM, after the grace SIGKILL, for its group
--- too; waits for its end. Leaving the scope does the same. Twice is fine.
---@async
function Process:close()
  check_self(self, "close")
  for _, name in ipairs { "stdin", "stdout", "stderr" } do
    if self[name] then self[name]:close() end
  end
  if self._detached then return end
  local one = self._child
  local _ <close> = setmetatable({}, { __close = function() one:reap() end })
  finish(self)
end

Process.__close = Process.close

--- Starts a program. Its three streams are those of this process, unless `stdin`, `stdout` and
--- `stderr` say otherwise: "pipe" (a Stream of the Process), "null", a Stream that is given away
--- and closed here, a file of `io`; for stderr also "stdout".
---
--- It leads a session and process group of its own: it does not see the terminal's Ctrl-C, and all
--- that it starts can be ended with it. With `group = false` it stays in ours, as programs want
--- that use the terminal (an editor, sudo), and is signalled alone.
---
--- It is reaped when it ends, whether somebody waits for it or not. The end of this program ends it
--- as well, unless it is `detached`.
---
--- Raises: FileNotFoundError, PermissionError, NotADirectoryError and other OSErrors, which tell
--- whether the program or `cwd` is at fault.
---@param options lilac.SpawnOptions
---@return lilac.Process
function process.spawn(options)
  check("spawn", options, SPAWN_OPTIONS)
  return start("spawn", options, options)
end

-- ---- run ----------------------------------------------------------------------------------------

--- What the process does not want to read is its own affair.
local function feed(stream, input)
  local ok, err = pcall(function()
    stream:write(input)
    stream:shutdown()
  end)
  if not ok and not errors.is(err, "BrokenPipeError") then error(err, 0) end
  stream:close()
end

local function collect(stream, chunks, name, limit)
  local size = 0
  for chunk in function() return stream:read_some() end do
    size = size + #chunk
    if limit and size > limit then
      error(errors.new("LimitOverrunError",
        ("run: %s is longer than the limit of %d bytes"):format(name, limit)))
    end
    chunks[#chunks + 1] = chunk
  end
end

--- Everything at once, so that no pipe fills up while another one is waited for.
local function communicate(one, options, output)
  local group <close> = lilac.TaskGroup()
  if options.input then group:create_task(feed, one.stdin, options.input) end
  for name, chunks in pairs(output) do
    group:create_task(collect, one[name], chunks, name, options.limit)
  end
  return one:wait()
end

--- → finished, code, signal
local function attend(one, options, output)
  if not options.timeout then return true, communicate(one, options, output) end
  return lilac.move_on_after(options.timeout, communicate, one, options, output)
end

local function ends_of(options)
  local ends = { stdin = options.stdin, stdout = options.stdout, stderr = options.stderr }
  local captures = options.capture ~= false
  if ends.stdin == nil then ends.stdin = options.input and "pipe" or captures and "null" or nil end
  if ends.stdout == nil and captures then ends.stdout = "pipe" end
  if ends.stderr == nil and captures then ends.stderr = "pipe" end
  return ends
end

local function concatenate(output)
  local texts = {}
  for name, chunks in pairs(output) do texts[name] = table.concat(chunks) end
  return texts
end

--- The last lines of what it wrote to stderr, indented.
local function tail_of(text)
  text = (text or ""):gsub("%s+$", "")
  if #text > TAIL then text = text:sub(-TAIL):gsub("^[^\n]*\n", "...\n") end
  return text ~= "" and (":\n" .. text):gsub("\n", "\n  ") or ""
end

local function fail(options, result)
  local how = result.code and ("exit status %d"):format(result.code)
    or ("ended by %s"):format(result.signal)
  error(errors.new("ProcessError",
    ("run %s: %s%s"):format(command_of(options), how, tail_of(result.stderr)),
    { result = result }))
end

local function time_out(options, output)
  error(errors.new("TimeoutError",
    ("run %s: it took longer than %g s"):format(command_of(options), options.timeout),
    concatenate(output)))
end

--- Runs a program to its end. Unless told otherwise it reads nothing, and what it writes to stdout
--- and stderr is returned; with `capture = false` it has the streams of this process.
---
--- When this is left early (an error, a timeout, a cancellation) the program and all that it has
--- started get SIGTERM, after the grace SIGKILL.
---
--- Raises: TimeoutError, which has what was written so far as `stdout` and `stderr`;
--- LimitOverrunError; with `check` ProcessError, whose `result` is what would have been returned;
--- as `spawn`.
---
--- Differs from asyncio, where this takes create_subprocess_exec and communicate.
---@async
---@param options lilac.RunOptions
---@return lilac.ProcessResult
function process.run(options)
  check("run", options, RUN_OPTIONS)
  local ends, output = ends_of(options), {}
  if options.input and ends.stdin ~= "pipe" then
    error("bad argument #1 to 'run' (options 'input' and 'stdin' exclude each other)", 2)
  end
  now:wait()
  local one <close> = start("run", options, ends, true)
  if one.stdin and not options.input then one.stdin:close() end
  if one.stdout then output.stdout = {} end
  if one.stderr then output.stderr = {} end
  local finished, code, signal = attend(one, options, output)
  if not finished then time_out(options, output) end
  one._child:reap()
  local result = concatenate(output)
  result.code, result.signal = code, signal
  if options.check and code ~= 0 then fail(options, result) end
  return result
end

return process
