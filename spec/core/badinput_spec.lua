-- Every public function and method, called with every kind of wrong argument: see
-- spec/support/badinput.lua. LILAC_SEED=n repeats a run, LILAC_STRESS=1 (make stress) makes ten
-- times as many calls.
local lilac = require "lilac"
local folder = require "spec.support.folder"

local LILAC = os.getenv "LILAC" or "build/lilac"
local STRESS = os.getenv "LILAC_STRESS" == "1"

local ROOT = io.popen("pwd"):read()
if LILAC:sub(1, 1) ~= "/" then LILAC = ROOT .. "/" .. LILAC end

local BATCHES = 4
local LIMIT = 300 -- seconds

local function batch(number)
  local seed = os.getenv "LILAC_SEED" or os.time() % 1000000
  local report = os.tmpname()
  local dir <close> = folder "/dev/shm" -- what is made under wrong names is made there
  -- Closed connections may linger for some seconds, with their descriptors.
  local command = ("ulimit -n $(ulimit -Hn); cd %s && TMPDIR=. RES_OPTIONS='timeout:1 attempts:1' "
    .. "timeout -s KILL %d %s --grace 1 %s/spec/support/badinput.lua %s %g %d %d 2>%s"):format(
    dir.path, LIMIT, LILAC, ROOT, seed, STRESS and 0.5 or 0.05, number, BATCHES, report)
  -- A full collection before every resume is for others.
  local pipe = assert(io.popen("export LILAC_STRESS=; " .. command))
  local last
  for line in pipe:lines() do last = line end
  local _, kind, status = pipe:close()
  local file = assert(io.open(report))
  local text = file:read "a"
  file:close()
  os.remove(report)
  assert(status == 0, ("%s\nLILAC_SEED=%s: %s %d at %s\n%s"):format(command, seed, kind, status,
    last, text:sub(1, 4000)))
end

describe("a wrong argument", function()
  for number = 1, BATCHES do
    it(("gives a clear error, and lilac goes on (%d of %d)"):format(number, BATCHES), function()
      batch(number)
    end)
  end
end)

describe("a host name", function()
  it("that contains a zero byte is refused, and not cut there", function()
    local host = "127.0.0.1\0.example.org"
    for _, fn in ipairs { lilac.net.connect, lilac.net.listen, lilac.tcp.connect, lilac.tcp.listen,
      lilac.dns.getaddrinfo, lilac.dns.getnameinfo } do
      local ok, err = pcall(fn, host, 1)
      assert.is_false(ok)
      assert.matches("bad argument #1", err, 1, true)
    end
  end)
end)

describe("an option", function()
  local function refuses(option, fn, ...)
    local ok, err = pcall(fn, ...)
    assert.is_false(ok)
    assert.matches("unknown option '" .. option .. "'; known: ", err, 1, true)
    assert.not_matches("%[lilac", err)
  end

  local function noop() end
  local net, dns, tcp = lilac.net, lilac.dns, lilac.tcp
  local wrong = { nonsense = 1 }

  it("that is unknown is refused by name, and the known ones are listed", function()
    refuses("nonsense", lilac.gather, { noop }, wrong)
    refuses("nonsense", lilac.wait, { noop }, wrong)
    refuses("nonsense", lilac.as_completed, { noop }, wrong)
    refuses("nonsense", lilac.timeout, 1, wrong)
    refuses("nonsense", lilac.timeout_at, 1, wrong)
    refuses("nonsense", lilac.retry, wrong)
    refuses("nonsense", net.connect, "127.0.0.1", 1, wrong)
    refuses("nonsense", net.listen, "127.0.0.1", 0, wrong)
    refuses("nonsense", net.serve, "127.0.0.1", 0, noop, wrong)
    refuses("nonsense", net.connect_unix, "@x", wrong)
    refuses("nonsense", net.listen_unix, "@x", wrong)
    refuses("nonsense", net.serve_unix, "@x", noop, wrong)
    refuses("nonsense", lilac.unix.connect, "@x", wrong)
    refuses("nonsense", lilac.unix.listen, "@x", wrong)
    refuses("nonsense", lilac.pipe.pair, wrong)
    refuses("nonsense", lilac.testing.stream_pair, wrong)
    refuses("nonsense", tcp.connect, "127.0.0.1", 1, wrong)
    refuses("nonsense", tcp.listen, "127.0.0.1", 0, wrong)
    refuses("nonsense", net.udp, wrong)
    refuses("nonsense", dns.getaddrinfo, "127.0.0.1", 1, wrong)
  end)

  it("of a wrong type is refused by name", function()
    local function refuses_value(option, fn, ...)
      local ok, err = pcall(fn, ...)
      assert.is_false(ok)
      assert.matches("option '" .. option .. "'", err, 1, true)
      assert.not_matches("%[lilac", err)
    end
    local list = { noop }
    refuses_value("return_exceptions", lilac.gather, list, { return_exceptions = 1 })
    refuses_value("cancel_on_error", lilac.gather, list, { cancel_on_error = "yes" })
    refuses_value("timeout", lilac.wait, list, { timeout = "soon" })
    refuses_value("timeout", lilac.wait, list, { timeout = 0 / 0 })
    refuses_value("timeout", lilac.as_completed, list, { timeout = {} })
    refuses_value("timeout", lilac.as_completed, list, { timeout = 0 / 0 })
    refuses_value("interrupt", lilac.timeout, 1, { interrupt = 1 })
    refuses_value("attempts", lilac.retry, { attempts = 0 })
    refuses_value("delay", lilac.retry, { delay = -1 })
    refuses_value("on", lilac.retry, { on = "NoError" })
    refuses_value("limit", net.connect, "127.0.0.1", 1, { limit = 0 })
    refuses_value("local_addr", net.connect, "127.0.0.1", 1, { local_addr = "here" })
    refuses_value("happy_eyeballs_delay", net.connect, "127.0.0.1", 1,
      { happy_eyeballs_delay = "x" })
    refuses_value("port", net.udp, { port = "x" })
    refuses_value("queue", net.udp, { queue = -1 })
    refuses_value("backlog", net.listen, "127.0.0.1", 0, { backlog = -1 })
    refuses_value("reuse_port", net.listen, "127.0.0.1", 0, { reuse_port = 1 })
    refuses_value("keepalive", net.serve, "127.0.0.1", 0, noop, { keepalive = "x" })
    refuses_value("max_connections", net.serve, "127.0.0.1", 0, noop, { max_connections = "x" })
    refuses_value("grace", net.serve, "127.0.0.1", 0, noop, { grace = "x" })
    refuses_value("grace", net.serve_unix, "@x", noop, { grace = 0 / 0 })
    refuses_value("mode", net.listen_unix, "/tmp/x", { mode = "rw" })
    refuses_value("timeout", net.connect, "127.0.0.1", 1, { timeout = noop })
    refuses_value("timeout", net.connect_unix, "@x", { timeout = 0 / 0 })
    refuses_value("limit", net.connect_unix, "@x", { limit = 0 })
    refuses_value("family", dns.getaddrinfo, "127.0.0.1", 1, { family = "x" })
  end)
end)
