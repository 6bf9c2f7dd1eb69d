local lilac = require "lilac"
local raises = require "spec.support.raises"
local settle = require "spec.support.settle"

local net = lilac.net

local function echo(stream)
  for line in stream:lines "L" do stream:write(line) end
end

describe("Server", function()
  it("stops accepting when it is closed, and its connections go on", function()
    local server = net.serve("127.0.0.1", 0, echo)
    local stream = net.connect("127.0.0.1", server.port)
    stream:write "one\n"
    assert.equal("one", stream:read())
    server:close()
    server:close()
    raises("ConnectionRefusedError", net.connect, "127.0.0.1", server.port)
    stream:write "two\n"
    assert.equal("two", stream:read())
    local task = settle.start(server.wait_closed, server)
    assert.is_false(task:done())
    stream:close()
    task:await()
    server:wait_closed()
  end)

  it("waits for its handlers at the end of its scope", function()
    local is_done = false
    local stream
    do
      local server <close> = net.serve("127.0.0.1", 0, function(peer)
        peer:read()
        lilac.sleep(0.01)
        is_done = true
      end)
      stream = net.connect("127.0.0.1", server.port)
      stream:write "go\n"
      settle()
    end
    assert.is_true(is_done)
    stream:close()
  end)

  it("cancels its handlers when an error leaves its scope", function()
    local was_cancelled = false
    local stream
    assert.error_matches(function()
      local server <close> = net.serve("127.0.0.1", 0, function(peer)
        local _ <close> = setmetatable({}, { __close = function(_, err)
          was_cancelled = lilac.errors.is(err, "CancelledError")
        end })
        peer:read()
      end)
      stream = net.connect("127.0.0.1", server.port)
      settle()
      error "oops"
    end, "oops")
    assert.is_true(was_cancelled)
    assert.is_nil(stream:read())
    stream:close()
  end)

  it("serves until it is closed", function()
    local server = net.serve("127.0.0.1", 0, echo)
    local task = settle.start(server.serve_forever, server)
    local stream <close> = net.connect("127.0.0.1", server.port)
    stream:write "one\n"
    assert.equal("one", stream:read())
    assert.is_false(task:done())
    stream:close()
    server:close()
    task:await()
  end)

  it("closes when who serves forever is cancelled", function()
    local server = net.serve("127.0.0.1", 0, echo)
    local stream <close> = net.connect("127.0.0.1", server.port)
    local task = settle.start(server.serve_forever, server)
    task:cancel()
    raises("CancelledError", task.await, task)
    assert.is_nil(stream:read())
    raises("ConnectionRefusedError", net.connect, "127.0.0.1", server.port)
  end)

  --- A handler that tells how it ended: `ended.early` unless somebody lets it go.
  local function patient(ended, gate)
    return function()
      local _ <close> = setmetatable({}, { __close = function(_, err)
        ended.err = err
        ended.count = (ended.count or 0) + 1
      end })
      gate:wait()
    end
  end

  it("cancels its handlers when the grace after its closing is over", function()
    local ended = {}
    local server = net.serve("127.0.0.1", 0, patient(ended, lilac.Event()), { grace = 0.01 })
    local stream <close> = net.connect("127.0.0.1", server.port)
    settle()
    server:close()
    server:wait_closed()
    assert.is_true(lilac.errors.is(ended.err, "CancelledError"))
    assert.matches("the server ends its connections", ended.err.message, 1, true)
    assert.is_nil(stream:read())
  end)

  it("gives its handlers the grace also when an error leaves its scope", function()
    local ended, gate = {}, lilac.Event()
    local stream
    local task = settle.start(function()
      local server <close> = net.serve("127.0.0.1", 0, patient(ended, gate), { grace = 1000 })
      stream = net.connect("127.0.0.1", server.port)
      settle()
      error "oops"
    end)
    assert.is_false(task:done())
    gate:set()
    assert.error_matches(function() task:await() end, "oops")
    assert.same({ count = 1 }, ended)
    stream:close()
  end)

  it("cancels its handlers when who waits for them is cancelled", function()
    local ended = {}
    local stream
    local task = settle.start(function()
      local server <close> = net.serve("127.0.0.1", 0, patient(ended, lilac.Event()))
      stream = net.connect("127.0.0.1", server.port)
      settle()
    end)
    settle()
    assert.is_false(task:done())
    task:cancel()
    raises("CancelledError", task.await, task)
    assert.is_true(lilac.errors.is(ended.err, "CancelledError"))
    stream:close()
  end)

  it("lives on when nobody holds it", function()
    local port = net.serve("127.0.0.1", 0, echo).port
    collectgarbage()
    collectgarbage()
    local stream <close> = net.connect("127.0.0.1", port)
    stream:write "hello\n"
    assert.equal("hello", stream:read())
    for _, task in ipairs(lilac.all_tasks()) do
      if task.name:find(":" .. port, 1, true) then task:cancel() end
    end
  end)

  it("shows its port and how many connections it has", function()
    local server = net.serve("127.0.0.1", 0, echo)
    assert.equal(("Server (port %d, 0 connections)"):format(server.port), tostring(server))
    local stream = net.connect("127.0.0.1", server.port)
    settle()
    assert.equal(("Server (port %d, 1 connections)"):format(server.port), tostring(server))
    stream:close()
    server:close()
    server:wait_closed()
  end)
end)
