-- What happens to servers: crowds, peers that die, leave or dawdle, descriptors and disks that are
-- used up. The process lives on, serves the others, and its descriptors and memory come back to
-- where they were. LILAC_LOAD=10000 (make load) makes the crowds bigger.

local lilac = require "lilac"
local background = require "spec.support.background"
local run = require "spec.support.child"

local LILAC = os.getenv "LILAC" or "build/lilac"
local STRESS = os.getenv "LILAC_STRESS" == "1" -- then every resume costs a full collection
local LOAD = tonumber(os.getenv "LILAC_LOAD") or (STRESS and 50 or 500)
local FILES = ("ulimit -n %d; "):format(LOAD + 200)

local function program(name, ...)
  local command = ("%sexec %s spec/support/faults/%s.lua %s"):format(FILES, LILAC, name,
    table.concat({ ... }, " "))
  return background(command)
end

local function output_of(command)
  local pipe <close> = assert(io.popen(command))
  return pipe:read "a"
end

local Server = {}
Server.__index = Server

--- A server in a process of its own, beside the specs.
local function start_server()
  local job = program "server"
  local self = setmetatable({ job = job, port = tonumber(job:wait_for "port%s+(%d+)") }, Server)
  self:ask "hello" -- what is opened at the first connection is open now
  return self
end

--- That it serves. Waits until it has closed the connection.
function Server:ask(line)
  local stream <close> = lilac.net.connect("127.0.0.1", self.port, { timeout = 30 })
  stream:write(line, "\n")
  assert.equal(line, stream:read())
  stream:shutdown()
  assert.is_nil(stream:read())
end

function Server:descriptors()
  return select(2, output_of(("ls /proc/%d/fd"):format(self.job.pid)):gsub("\n", ""))
end

--- In KiB, without garbage.
function Server:memory()
  self:ask "collect"
  local pages = output_of(("cat /proc/%d/statm"):format(self.job.pid)):match "^%d+ (%d+)"
  return tonumber(pages) * 4
end

--- Waits until it has so many descriptors.
function Server:settles_at(descriptors)
  for _ = 1, 1000 do
    if self:descriptors() == descriptors then return end
    lilac.sleep(0.01)
  end
  assert.equal(descriptors, self:descriptors())
end

--- That it lives, and has written no other errors than these.
function Server:check(...)
  self:ask "still there"
  local text = self.job:output():gsub("^port%s+%d+\n", "")
  for _, code in ipairs { ... } do text = text:gsub(code .. "\n", "") end
  assert.equal("", text)
  assert.equal("", self.job:errors())
end

--- That it has at most so much memory.
function Server:fits_in(most)
  if LILAC:find "asan" then return end -- it keeps what is freed
  local now = self:memory()
  assert.is_true(now <= most, ("%d KiB, where at most %.0f were expected"):format(now, most))
end

function Server:__close() self.job:__close() end

local function with_server(fn)
  return function()
    local server <close> = start_server()
    fn(server)
  end
end

--- Runs fn a few times, and checks that the server has then no more than after the first ones, when
--- it has what it keeps for the next time.
local function no_growth(server, fn)
  local descriptors, memory = server:descriptors(), nil
  for round = 1, 5 do
    fn(round)
    server:settles_at(descriptors)
    if round == 3 then memory = server:memory() end
  end
  server:fits_in(memory * 1.1 + 512)
end

describe("a server", function()
  it(("serves %d connections at once, others beside them, and forgets them"):format(LOAD),
    with_server(function(server)
      local descriptors = server:descriptors()
      local gate = os.tmpname()
      do
        local crowd <close> = program("crowd", server.port, LOAD, gate)
        crowd:wait_for "all here"
        assert.is_true(server:descriptors() >= descriptors + LOAD)
        server:ask "one more"
        os.remove(gate)
        crowd:wait_for "all served"
        assert.equal(0, crowd:wait())
      end
      server:settles_at(descriptors)
      no_growth(server, function()
        local crowd <close> = program("crowd", server.port, LOAD)
        assert.equal(0, crowd:wait())
      end)
      server:check()
    end))

  it("survives clients that come and go as they like", with_server(function(server)
    no_growth(server, function(round)
      local chaos <close> = program("chaos", server.port, 2 * LOAD, round)
      for _ = 1, 20 do server:ask "not disturbed" end
      assert.equal(0, chaos:wait(), chaos:errors())
    end)
    server:check("ECONNRESET", "EPIPE")
  end))

  it("survives that a client is killed with all its connections", with_server(function(server)
    local descriptors = server:descriptors()
    do
      local crowd <close> = program("crowd", server.port, LOAD, "Makefile")
      crowd:wait_for "all here"
      crowd:kill "KILL"
      assert.equal(128 + 9, crowd:wait())
    end
    server:settles_at(descriptors)
    server:check "ECONNRESET"
  end))

  it("serves others while a client sends byte after byte", with_server(function(server)
    local text, others = "slow and steady", 0
    local slow = lilac.create_task(function()
      local stream <close> = lilac.net.connect("127.0.0.1", server.port)
      for byte in (text .. "\n"):gmatch "." do
        stream:write(byte)
        local before = others
        repeat lilac.sleep(0.001) until others > before
      end
      return stream:read()
    end)
    while not slow:done() do
      server:ask "quick"
      others = others + 1
    end
    assert.equal(text, slow:await())
    assert.is_true(others > #text)
    server:check()
  end))

  it("gives up on a peer that neither reads nor leaves", with_server(function(server)
    local descriptors = server:descriptors()
    local memory = server:memory()
    local peers = {}
    for i = 1, 5 do
      peers[i] = lilac.net.connect("127.0.0.1", server.port)
      peers[i]:write "flood\n"
    end
    server.job:wait_for(("TimeoutError\n"):rep(#peers))
    server:ask "not disturbed"
    for _, peer in ipairs(peers) do peer:close() end
    server:settles_at(descriptors)
    server:fits_in(memory + 16384)
    server:check("TimeoutError", "ECONNRESET")
  end))
end)

describe("a process without free descriptors", function()
  it("lets connections wait, and serves them all in time", function()
    local job <close> = background(("ulimit -n 40; exec %s spec/support/faults/server.lua")
      :format(LILAC))
    local server = setmetatable({ job = job }, Server)
    server.port = tonumber(job:wait_for "port%s+(%d+)")
    do
      local group <close> = lilac.TaskGroup()
      local inside, door = 0, lilac.Event()
      for _ = 1, 100 do
        group:create_task(function()
          local stream <close> = lilac.net.connect("127.0.0.1", server.port)
          stream:write "hello\n"
          assert(stream:read() == "hello")
          inside = inside + 1
          if inside == 20 then door:set() end -- until then nobody makes room
          door:wait()
        end)
      end
      job:wait_for "EMFILE"
      door:wait()
    end
    server:check "EMFILE"
  end)

  it("is told so by every call that needs one, and goes on when there are some again", function()
    local child = run([[
      local lilac = require "lilac"
      local net, fs = lilac.net, lilac.fs
      local listener = net.listen("127.0.0.1", 0)
      local function all_that_need_one()
        for _, call in ipairs {
          function() return net.connect("127.0.0.1", listener.port) end,
          function() return net.listen("127.0.0.1", 0) end,
          function() return net.udp { host = "127.0.0.1" } end,
          function() return fs.open("Makefile") end,
        } do
          local ok, result = pcall(call)
          io.write(ok and "ok" or result.code, " ")
          if ok then result:close() end
        end
        print()
      end
      all_that_need_one()
      local files = {}
      repeat
        local file = io.open "/dev/null"
        files[#files + 1] = file
      until not file
      all_that_need_one()
      for _, file in ipairs(files) do file:close() end
      all_that_need_one()
    ]], { env = "ulimit -n 40;" })
    assert.equal("", child.stderr)
    assert.equal("ok ok ok ok \nEMFILE EMFILE EMFILE EMFILE \nok ok ok ok \n", child.stdout)
  end)
end)

describe("a process without room on the disk", function()
  it("is told so, by name, and lives on", function()
    local path = os.tmpname()
    local child = run(([[
      local fs = require "lilac".fs
      local function write(path)
        local file <close> = fs.open(path, "w")
        for _ = 1, 100 do file:write(("x"):rep(1000)) end
        file:flush()
      end
      for _, path in ipairs { "/dev/full", %q } do
        local ok, err = pcall(write, path)
        print(ok, err.code, err.path == path, (err.message:gsub("^(%%a+).*: ", "%%1: ")))
      end
      print(fs.stat(%q).size)
    ]]):format(path, path), { env = "ulimit -f 10;" })
    os.remove(path)
    assert.equal("", child.stderr)
    assert.matches("^false\tENOSPC\ttrue\tflush: no space left on device %(ENOSPC%)\n"
      .. "false\tEFBIG\ttrue\tflush: file too large %(EFBIG%)\n%d+\n$", child.stdout)
  end)
end)
