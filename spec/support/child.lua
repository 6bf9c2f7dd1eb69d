-- Runs a script in a lilac of its own, and waits for its end: for what is about a whole process
-- (reports on stderr, the exit status).
--
--    local run = require "spec.support.child"
--    local child = run [[print "hi"; error "oops"]]
--    child.stdout, child.stderr, child.status     -- status: 128 + n when signal n ended it
--    run(source, { options = "--debug", args = "a b", env = "X=1", input = "…", name = "a.lua" })

local LILAC = os.getenv "LILAC" or "build/lilac"

local function write(path, text)
  local file = assert(io.open(path, "w"))
  file:write(text)
  file:close()
end

local function take(path)
  local file = assert(io.open(path))
  local text = file:read "a"
  file:close()
  os.remove(path)
  return text
end

return function(source, options)
  options = options or {}
  local base = os.tmpname()
  local script, input, out, err = base .. ".lua", base .. ".in", base .. ".out", base .. ".err"
  write(script, source)
  write(input, options.input or "")
  local limit = options.limit and ("timeout -s KILL %d "):format(options.limit) or ""
  local command = ("%s %s %s %s %s <%s >%s 2>%s"):format(options.env or "", limit .. LILAC,
    options.options or "", script, options.args or "", input, out, err)
  local _, kind, status = os.execute(command)
  os.remove(base)
  os.remove(script)
  os.remove(input)
  local name = options.name or "script.lua"
  local function text(path) return (take(path):gsub(script:gsub("%p", "%%%0"), name)) end
  return {
    stdout = text(out),
    stderr = text(err),
    status = kind == "signal" and 128 + status or status,
  }
end
