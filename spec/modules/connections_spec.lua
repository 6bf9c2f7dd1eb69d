local lilac = require "lilac"
local connections = require "lilac.connections"
local raises = require "spec.support.raises"
local refused = require "spec.support.refused"
local reports_of = require "spec.support.reports"
local run = require "spec.support.child"
local settle = require "spec.support.settle"

local function noop() end

--- A stream, and its other end.
local function pair() return lilac.testing.stream_pair() end

describe("Connections:begin", function()
  it("runs the handler in a task, and closes the stream after it", function()
    local all = connections.new(function(stream) stream:write(stream:read(), "!") end)
    local stream, peer = pair()
    local task = all:begin(stream, "a visit")
    assert.equal("a visit", task.name)
    assert.same({ 1, task }, { all:count(), all:tasks()[1] })
    assert.matches("^Connections %(1%): 0x", tostring(all))
    peer:write "hello\n"
    assert.equal("hello!", peer:read "a")
    task:await()
    assert.equal(0, all:count())
    raises("ClosedError", stream.read, stream)
  end)

  it("may be called by a finaliser, in the middle of itself", function()
    local child = run([[
      local finalise = require "spec.support.finalise"
      local lilac, connections = require "lilac", require "lilac.connections"
      local all = connections.new(function(stream) stream:write(stream:read()) end)
      local first, first_peer = lilac.testing.stream_pair()
      local second, second_peer = lilac.testing.stream_pair()
      finalise(function() all:begin(second, "second") end)
      print(all:begin(first, "first").name, all:count())
      for _, peer in ipairs { first_peer, second_peer } do
        peer:write "hello\n"
        print(peer:read "a")
      end
      all:wait()
      print(all:count())]], { limit = 20 })
    assert.equal("first\t2\nhello\nhello\n0\n", child.stdout)
  end)

  it("refuses one that a finaliser ends by hand, in the middle of it", function()
    local child = run([[
      local finalise = require "spec.support.finalise"
      local lilac, connections = require "lilac", require "lilac.connections"
      local all, stream = connections.new(print), lilac.testing.stream_pair()
      local function begin(name) return pcall(all.begin, all, stream, name) end
      finalise(function() getmetatable(all).__gc(all) end)
      print(begin "name")
      print(begin "name")]], { limit = 20 })
    assert.equal(("false\tthe Connections was collected\n"):rep(2),
      (child.stdout:gsub("Stream[^\n]*\n", "")))
  end)

  it("calls the task by the peer when it has no other name", function()
    local listener <close> = lilac.tcp.listen("127.0.0.1", 0)
    local stream <close> = lilac.tcp.connect("127.0.0.1", listener.port)
    local all = connections.new(noop)
    local task = all:begin(listener:accept())
    assert.equal(("connection from 127.0.0.1:%d"):format(select(2, stream:sockname())), task.name)
    all:wait()
  end)

  it("reports the error of a handler, once, with its task and traceback", function()
    local task
    local reports = reports_of(function()
      local all = connections.new(function() error("oops", 0) end)
      task = all:begin(pair(), "a visit")
      all:wait()
    end)
    assert.equal(1, #reports)
    assert.same({ "a visit: the handler failed", "oops", task },
      { reports[1].message, reports[1].exception, reports[1].task })
    assert.matches("connections_spec.lua", reports[1].traceback)
  end)

  it("says nothing about one that was cancelled, also before it began", function()
    local stream, peer = pair()
    local reports = reports_of(function()
      local all = connections.new(lilac.Future().await)
      local begun = all:begin(stream)
      begun:cancel()
      all:wait()
      assert.equal("", peer:read "a")
    end)
    assert.same({}, reports)
  end)

  it("leaves alone what the handler has closed", function()
    local all = connections.new(function(stream) stream:close() end)
    all:begin((pair()))
    all:wait()
  end)

  it("keeps stream and handler while nobody else does", function()
    local stream, peer = pair()
    connections.new(function(s) s:write(s:read()) end):begin(stream)
    stream = nil -- luacheck: ignore
    collectgarbage()
    collectgarbage()
    peer:write "hello\n"
    assert.equal("hello", peer:read "a")
  end)

  it("leaves no task behind that it does not know, wherever memory runs out", function()
    local pool <close> = lilac.ThreadPool(1, { memory = 4000000 })
    local failed, count, tasks = pool:submit(function()
      local here = require "lilac"
      local all = require "lilac.connections".new(function() here.Event():wait() end)
      local streams, ballast = {}, {}
      for i = 1, 300 do streams[i] = here.testing.stream_pair() end
      local function load(size) ballast[#ballast + 1] = ("x"):rep(size) .. #ballast end
      local failures = 0
      for i, stream in ipairs(streams) do -- with a little more memory each time, and again
        for power = 12, 3, -1 do
          while pcall(load, 1 << power) do end
        end
        for _ = 1, i % 50 do ballast[#ballast] = nil end
        if not pcall(all.begin, all, stream) then failures = failures + 1 end
      end
      ballast = nil
      return failures, all:count(), #here.all_tasks() - 1
    end):await()
    assert.is_true(failed > 0)
    assert.is_true(count > 0)
    assert.equal(count, tasks)
  end)

  it("checks its arguments", function()
    local all = connections.new(noop)
    refused("function expected, got no value", connections.new)
    refused("most must be at least 1, got 0", connections.new, noop, 0)
    refused("Stream expected, got table", all.begin, all, {})
    refused("Connections expected, got table", all.begin, {})
    local closed = pair()
    closed:close()
    raises("ClosedError", all.begin, all, closed)
  end)
end)

describe("Connections:admit", function()
  local gate, all

  before_each(function()
    gate = lilac.Event()
    all = connections.new(function() gate:wait() end, 2)
  end)

  it("waits until there is room", function()
    for _ = 1, 2 do
      all:admit()
      all:begin((pair()))
    end
    local third = settle.start(all.admit, all)
    local fourth = settle.start(all.admit, all)
    assert.same({ false, false }, { third:done(), fourth:done() })
    all:tasks()[1]:cancel()
    settle()
    assert.same({ true, false }, { third:done(), fourth:done() })
    fourth:cancel()
    raises("CancelledError", fourth.await, fourth)
    gate:set()
    all:wait()
  end)

  it("gives back the room of who does not come", function()
    all:admit()
    all:admit()
    local third = settle.start(all.admit, all)
    assert.is_false(third:done())
    all:dismiss()
    third:await()
    all:dismiss()
    all:dismiss()
    all:dismiss() -- that was one too many
    all:admit()
    all:admit()
    assert.is_false(lilac.move_on_after(0, all.admit, all))
  end)

  it("has room for all without a bound", function()
    local open = connections.new(noop)
    for _ = 1, 3 do open:admit() end
  end)
end)

describe("Connections:wait", function()
  it("waits for the end of all, and can be cancelled", function()
    local gate = lilac.Event()
    local all = connections.new(function() gate:wait() end)
    all:wait()
    for _ = 1, 2 do all:begin((pair())) end
    local one, two = settle.start(all.wait, all), settle.start(all.wait, all)
    assert.is_false(one:done())
    one:cancel()
    raises("CancelledError", one.await, one)
    gate:set()
    two:await()
    assert.equal(0, all:count())
  end)
end)
