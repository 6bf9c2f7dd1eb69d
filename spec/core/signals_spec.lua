-- SIGHUP, SIGINT and SIGTERM: the first cancels main, so that clean-up runs; a second one ends at
-- once, unless it is SIGHUP. Those that were ignored from the beginning stay ignored.

local lilac = require "lilac"
local run = require "spec.support.child"
local script = require "spec.support.script"

local PRE = [[
io.stdout:setvbuf "line"
local lilac = require "lilac"
local function guard(name)
  return setmetatable({}, { __close = function(_, err)
    lilac.sleep(0.001)
    print(name, err)
  end })
end
]]

-- Starts a script, waits until it has printed "ready", sends the signals → output, errors, status.
local function signalled(source, ...)
  local job <close> = script(PRE .. source)
  job:wait_for "ready\n"
  lilac.sleep(0.02) -- let it go to where it computes, or waits
  for i, signal in ipairs { ... } do
    if i > 1 then lilac.sleep(0.1) end
    job:kill(signal)
  end
  local status = job:wait()
  return (job:output():gsub("^ready\n", "")), job:errors(), status
end

local STATUS = { HUP = 129, INT = 130, TERM = 143 }
local SECOND = { HUP = "TERM", INT = "INT", TERM = "TERM" } -- what ends it at once then

local WAITS = {
  ["sleeps"] = "print 'ready' lilac.sleep(99)",
  ["computes"] = "print 'ready' while true do end",
  ["computes under pcall, in a loop"] =
    "print 'ready' while true do pcall(function() while true do end end) end",
  ["computes in a coroutine"] = "print 'ready' coroutine.wrap(function() while true do end end)()",
  ["goes round in a generator"] = [[
    local next = coroutine.wrap(function() while true do coroutine.yield() end end)
    print 'ready' while true do next() end]],
  ["computes inside table.sort"] =
    "print 'ready' table.sort({3, 2, 1}, function() while true do end end)",
  ["waits while another task computes"] = [[
    lilac.create_task(function() print 'ready' while true do end end) lilac.sleep(99)]],
  ["waits while many tasks take turns"] = [[
    for _ = 1, 3 do lilac.create_task(function() while true do lilac.sleep(0) end end) end
    print 'ready' lilac.sleep(99)]],
  ["waits for its tasks"] = [[
    lilac.TaskGroup(function(g) g:create_task(function() print 'ready' lilac.sleep(99) end) end)]],
  ["gathers"] = [[
    lilac.gather(function() print 'ready' lilac.sleep(99) end, function() lilac.sleep(99) end)]],
}

for signal, status in pairs(STATUS) do
  local second = SECOND[signal]

  describe("SIG" .. signal, function()
    for what, source in pairs(WAITS) do
      it("cancels a main that " .. what .. "; the process dies of it", function()
        local output, errors, got = signalled("local _ <close> = guard 'main'\n" .. source, signal)
        assert.equal(("main\tCancelledError: cancelled by SIG%s\n"):format(signal), output)
        assert.equal("", errors)
        assert.equal(status, got)
      end)
    end

    it("stops a callback that computes, and is reported there", function()
      local output, errors, got = signalled([[local _ <close> = guard 'main'
        lilac.call_soon(function() print 'ready' while true do end end) lilac.sleep(99)]], signal)
      assert.matches("a callback failed: CancelledError: cancelled by SIG" .. signal, errors)
      assert.equal(("main\tCancelledError: cancelled by SIG%s\n"):format(signal), output)
      assert.equal(status, got)
    end)

    it("leaves status 0 when main catches it and returns", function()
      local output, errors, got = signalled([[
        print 'ready'
        print(lilac.pcall(lilac.sleep, 99))
        lilac.current_task():uncancel()
        lilac.sleep(0.001)
        print 'fine']], signal)
      assert.equal(("false\tCancelledError: cancelled by SIG%s\nfine\n"):format(signal), output)
      assert.equal("", errors)
      assert.equal(0, got)
    end)

    it("leaves status 1 when clean-up fails", function()
      local _, errors, got = signalled([[
        local _ <close> = setmetatable({}, { __close = function() error 'unclean' end })
        print 'ready' lilac.sleep(99)]], signal)
      assert.matches("unclean", errors)
      assert.equal(1, got)
    end)

    it("ends at once the second time, though clean-up waits", function()
      local output, _, got = signalled([[
        local _ <close> = setmetatable({}, { __close = function() lilac.sleep(99) end })
        print 'ready' lilac.sleep(99)]], signal, second)
      assert.equal("", output)
      assert.equal(STATUS[second], got)
    end)

    it("ends at once the second time, though C code computes", function()
      local _, _, got = signalled("print 'ready' string.find(string.rep('a', 3e5), '.*b')",
        signal, second)
      assert.equal(STATUS[second], got)
    end)

    it("lets the shutdown go on when main has ended, and then ends the process", function()
      local output, _, got = signalled([[
        lilac.create_task(function()
          local _ <close> = setmetatable({}, { __close = function()
            print 'ready' lilac.sleep(0.2) print 'drained'
          end })
          lilac.sleep(99)
        end)
        lilac.sleep(0.001)]], signal)
      assert.equal("drained\n", output)
      assert.equal(status, got)
    end)

    it("ends clean-up that computes when it comes a second time", function()
      local _, _, got = signalled([[
        local _ <close> = setmetatable({}, { __close = function() while true do end end })
        print 'ready' lilac.sleep(99)]], signal, second)
      assert.equal(STATUS[second], got)
    end)

    it("stays ignored where it was ignored when lilac began, until somebody listens", function()
      local child = run(([[
        local lilac, name = require "lilac", %q
        local signal = lilac.signal
        signal.raise(name)
        lilac.sleep(0.001)
        do
          local _ <close> = signal.handle(name, print)
          signal.raise(name)
          lilac.sleep(0.01)
        end
        signal.raise(name)
        lilac.sleep(0.001)
        print "fine"]]):format(signal), { env = ("trap '' %s;"):format(signal) })
      assert.equal("", child.stderr)
      assert.equal(("SIG%s\nfine\n"):format(signal), child.stdout)
      assert.equal(0, child.status)
    end)
  end)
end

describe("SIGHUP", function()
  it("changes nothing the second time, as a terminal that goes away sends it more than once",
    function()
      local child = run [[
        local lilac = require "lilac"
        local _ <close> = setmetatable({}, { __close = function()
          lilac.signal.raise "HUP"
          lilac.sleep(0.001)
          print "cleaned up"
        end })
        lilac.signal.raise "HUP"
        lilac.sleep(99)]]
      assert.equal("cleaned up\n", child.stdout)
      assert.equal(129, child.status)
    end)
end)

describe("a mixture of signals", function()
  it("ends the process by the second one", function()
    local _, _, got = signalled([[
      local _ <close> = setmetatable({}, { __close = function() lilac.sleep(99) end })
      print 'ready' lilac.sleep(99)]], "INT", "TERM")
    assert.equal(143, got)
  end)
end)

describe("a signal before lilac has begun", function()
  it("ends the process", function()
    local job <close> = script("while true do end")
    job:kill "TERM"
    assert.equal(143, job:wait())
  end)
end)
