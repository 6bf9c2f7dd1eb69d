local lilac = require "lilac"
local race = require "lilac.race"
local raises = require "spec.support.raises"
local settle = require "spec.support.settle"

local dns, tcp = require "lilac.dns", lilac.tcp
package.loaded["lilac.net"] = nil -- another spec may have loaded it, with another table for dns
local net = require "lilac.net"

local NEVER = 3600 -- seconds
local LONG = 10 -- seconds; a busy machine may take some, a dead address takes more

local function at(address)
  return { address = address, family = address:find ":" and "inet6" or "inet", port = 80 }
end

local SIX = { at "::1", at "::2", at "::3" }
local FOUR = { at "127.0.0.1", at "127.0.0.2" }
local ALL = { SIX[1], SIX[2], SIX[3], FOUR[1], FOUR[2] }

local function refusal(address, class)
  return lilac.errors.new(class or "ConnectionRefusedError",
    ("connect %s:80: no (ENO)"):format(address), { code = "ENO", errno = 7 })
end

--- A connect() for the race that does what `outcomes` says for an address: "connect", "fail",
--- "hang" (until it is cancelled); and what it has seen.
local function connector(outcomes)
  local seen = { tried = {}, closed = {}, cancelled = {} }
  return function(name)
    seen.tried[#seen.tried + 1] = name
    local outcome = outcomes[name] or "hang"
    if outcome == "hang" then
      local _ <close> = setmetatable({}, { __close = function()
        seen.cancelled[#seen.cancelled + 1] = name
      end })
      lilac.Future():await()
    elseif outcome == "fail" then
      error(refusal(name))
    end
    return {
      name = name,
      close = function() seen.closed[#seen.closed + 1] = name end,
    }
  end, seen
end

describe("a race of addresses", function()
  it("alternates the families, beginning with that of the first one", function()
    local connect, seen = connector {}
    local task = settle.start(race, "x", ALL, 0, connect)
    settle()
    assert.same({ "::1", "127.0.0.1", "::2", "127.0.0.2", "::3" }, seen.tried)
    task:cancel()
    settle()
    connect, seen = connector {}
    task = settle.start(race, "x", { FOUR[1], FOUR[2], SIX[1] }, 0, connect)
    settle()
    assert.same({ "127.0.0.1", "::1", "127.0.0.2" }, seen.tried)
    task:cancel()
    settle()
  end)

  it("tries the next address when one takes longer than the delay", function()
    local connect, seen = connector { ["127.0.0.1"] = "connect" }
    assert.equal("127.0.0.1", race("x", ALL, 0.01, connect).name)
    assert.same({ "::1", "127.0.0.1" }, seen.tried)
    assert.same({ "::1" }, seen.cancelled)
  end)

  it("tries the next one at once when one fails", function()
    local connect, seen = connector {
      ["::1"] = "fail", ["127.0.0.1"] = "fail", ["::2"] = "connect",
    }
    assert.equal("::2", race("x", ALL, NEVER, connect).name)
    assert.same({ "::1", "127.0.0.1", "::2" }, seen.tried)
  end)

  it("does not trouble the second address when the first one answers", function()
    local connect, seen = connector { ["::1"] = "connect" }
    assert.equal("::1", race("x", ALL, NEVER, connect).name)
    assert.same({ "::1" }, seen.tried)
  end)

  it("closes what connects after the winner", function()
    local late, closed = lilac.Event(), {}
    local function connect(name)
      late:wait()
      late:set()
      return { name = name, close = function() closed[#closed + 1] = name end }
    end
    local task = settle.start(race, "x", FOUR, 0, connect)
    settle()
    late:set()
    local winner = task:await().name
    assert.same({ winner == "127.0.0.1" and "127.0.0.2" or "127.0.0.1" }, closed)
  end)

  it("cancels all attempts when it is cancelled", function()
    local connect, seen = connector {}
    local task = settle.start(race, "x", FOUR, 0, connect)
    settle()
    task:cancel()
    raises("CancelledError", task.await, task)
    table.sort(seen.cancelled)
    assert.same({ "127.0.0.1", "127.0.0.2" }, seen.cancelled)
  end)

  it("closes the winner when it is cancelled while the losers end", function()
    local closed, is_ending = 0, lilac.Event()
    local function connect(address)
      if address == "127.0.0.2" then
        return { close = function() closed = closed + 1 end }
      end
      local _ <close> = setmetatable({}, { __close = function()
        is_ending:set()
        lilac.sleep(0.01)
      end })
      lilac.Future():await()
    end
    local task = lilac.create_task(race, "x", FOUR, 0, connect)
    is_ending:wait()
    task:cancel()
    raises("CancelledError", task.await, task)
    assert.equal(1, closed)
  end)

  it("lists every address when all fail, in an error of the class that they share", function()
    local function outcome(...)
      local classes, count = { ... }, 0
      return raises("OSError", race, "x", FOUR, NEVER, function(address)
        count = count + 1
        error(refusal(address, classes[count]))
      end)
    end
    local err = outcome("ConnectionRefusedError", "ConnectionRefusedError")
    assert.equal("ConnectionRefusedError: connect x:80: 127.0.0.1:80: no (ENO); "
      .. "127.0.0.2:80: no (ENO)", tostring(err))
    assert.same({ "connect", "ENO", 7, 2 }, { err.syscall, err.code, err.errno, #err.errors })
    assert.equal("connect 127.0.0.2:80: no (ENO)", err.errors[2].message)
    assert.equal("ConnectionError", outcome("ConnectionRefusedError", "ConnectionResetError").name)
    assert.equal("OSError", outcome("ConnectionRefusedError", "TimeoutError").name)
  end)

  it("leaves the error of a single address as it is", function()
    local err = raises("ConnectionRefusedError", race, "x", { FOUR[1] }, NEVER,
      (connector { ["127.0.0.1"] = "fail" }))
    assert.equal("connect 127.0.0.1:80: no (ENO)", err.message)
  end)

  it("ends with an error that is about no address", function()
    local ok, err = pcall(race, "x", FOUR, NEVER, function() error("bad option", 0) end)
    assert.is_false(ok)
    assert.equal("bad option", err)
  end)
end)

--- Runs fn while a name has these addresses.
local function with_addresses(addresses, fn)
  local real = dns.getaddrinfo
  local _ <close> = setmetatable({}, { __close = function() dns.getaddrinfo = real end })
  dns.getaddrinfo = function(_, port)
    local found = {}
    for i, address in ipairs(addresses) do
      found[i] = { address = address, family = "inet", port = port }
    end
    return found
  end
  fn()
end

describe("net.connect", function()
  it("connects in well under a second to a host whose first address is dead", function()
    local good <close> = tcp.listen("127.0.0.2", 0)
    -- A full backlog swallows what comes, as a host behind a bad firewall does.
    local dead <close> = tcp.listen("127.0.0.1", good.port, { backlog = 1 })
    local fillers = {}
    repeat
      local is_in, stream = lilac.move_on_after(0.05, tcp.connect, "127.0.0.1", good.port)
      fillers[#fillers + 1] = stream
    until not is_in
    with_addresses({ dead.host, good.host }, function()
      local began = lilac.time()
      local stream <close> = net.connect("example.test", good.port)
      local took = lilac.time() - began
      assert.equal("127.0.0.2", (stream:peername()))
      assert.is_true(took > 0.2 and took < LONG, took)
      began = lilac.time()
      net.connect("example.test", good.port, { happy_eyeballs_delay = 0.01 }):close()
      assert.is_true(lilac.time() - began < LONG)
      local err = raises("TimeoutError", net.connect, "example.test", good.port,
        { timeout = 0.02, happy_eyeballs_delay = NEVER })
      assert.equal(("connect example.test:%d: no connection within 0.02 s"):format(good.port),
        err.message)
    end)
    for _, stream in ipairs(fillers) do stream:close() end
  end)

  it("lists the addresses that refuse", function()
    with_addresses({ "127.0.0.1", "127.0.0.2" }, function()
      local err = raises("ConnectionRefusedError", net.connect, "example.test", 1)
      assert.equal("connect example.test:1: 127.0.0.1:1: connection refused (ECONNREFUSED); "
        .. "127.0.0.2:1: connection refused (ECONNREFUSED)", err.message)
    end)
    assert.equal("connect 127.0.0.1:1: connection refused (ECONNREFUSED)",
      raises("ConnectionRefusedError", net.connect, "127.0.0.1", 1).message)
  end)

  it("takes seconds for its options in seconds", function()
    for _, option in ipairs { "timeout", "happy_eyeballs_delay" } do
      for _, value in ipairs { "soon", -1, 0 / 0 } do
        local ok, err = pcall(net.connect, "127.0.0.1", 1, { [option] = value })
        assert.is_false(ok)
        assert.matches(("option '%s': number of seconds expected, got %s"):format(option, value),
          err, 1, true)
      end
    end
  end)
end)
