-- Reads that are tried before the system is asked which would find something. Whether they are
-- tried is counted in a child, at the C library; the rest holds with and without them.

local lilac = require "lilac"
local certificates = require "spec.support.certificates"
local reset = require "spec.support.reset"
local run = require "spec.support.child"
local shim = require "spec.support.shim"

local LILAC = os.getenv "LILAC" or "build/lilac"

local ECHO_SERVER <const> = [[
  local server = require "lilac".net.serve("127.0.0.1", 0, function(stream)
    local data = stream:read_some()
    while data do
      stream:write(data)
      data = stream:read_some()
    end
  end)
  print(server.port)
  server:serve_forever()
]]

local function pair()
  local listener <close> = lilac.tcp.listen("127.0.0.1", 0)
  local stream = lilac.tcp.connect("127.0.0.1", listener.port)
  return stream, listener:accept()
end

--- How often the script has asked which of its sockets are ready, and read in vain.
local function counts_of(source)
  local path = os.tmpname()
  local child = run([[
    local lilac = require "lilac"
    local function pair()
      local listener <close> = lilac.tcp.listen("127.0.0.1", 0)
      local stream = lilac.tcp.connect("127.0.0.1", listener.port)
      return stream, listener:accept()
    end
  ]] .. source, { env = shim { SHIM_COUNTS = path } })
  assert.equal("", child.stderr)
  local file <close> = io.open(path)
  local asked, vain = file:read "a":match "asked (%d+)\nvain (%d+)"
  os.remove(path)
  return tonumber(asked), tonumber(vain)
end

describe("A guess", function()
  local READERS <const>, READS <const> = 10, 60

  local function asked_for_reads(read)
    return counts_of(([[
      local readers, peers = {}, {}
      for i = 1, %d do
        local stream, peer = pair()
        peer:write(("four"):rep(%d))
        peers[i] = peer
        readers[i] = lilac.create_task(function()
          for _ = 1, %d do assert(%s == "four") end
          stream:close()
        end)
      end
      lilac.gather(readers)
    ]]):format(READERS, READS, READS, read))
  end

  it("reads what is there without asking for it", function()
    local asked = asked_for_reads "stream:read_some(4)"
    assert.is_true(asked < READS / 2, asked)
  end)

  it("rests where there is nothing yet", function()
    local _, vain = counts_of [[
      local tasks = {}
      for i = 1, 20 do
        local stream, peer = pair()
        tasks[i] = lilac.create_task(function()
          for _ = 1, 40 do peer:write(peer:read_some()) end
        end)
        tasks[20 + i] = lilac.create_task(function()
          for _ = 1, 40 do
            lilac.sleep(0.001)
            stream:write "ping"
            stream:read_some()
          end
        end)
      end
      lilac.gather(tasks)
    ]]
    assert.is_true(vain < 20 * 40 / 2, vain)
  end)

  it("keeps neither timers nor other streams waiting", function()
    local server <close> = lilac.process.spawn { LILAC, "-e", ECHO_SERVER, stdout = "pipe" }
    local port = tonumber(server.stdout:read())
    local one, two = lilac.testing.stream_pair()
    local count <const> = os.getenv "LILAC_STRESS" and 20 or 200
    local clients, over, others, sleeps = {}, false, 0, 0
    for i = 1, 20 do
      clients[i] = lilac.create_task(function()
        local stream <close> = lilac.net.connect("127.0.0.1", port)
        for _ = 1, count do
          stream:write "ping"
          assert.equal("ping", stream:read_some())
        end
      end)
    end
    local echo = lilac.create_task(function()
      while true do two:write(two:read_exactly(4)) end
    end)
    local other = lilac.create_task(function()
      repeat
        one:write "ping"
        assert.equal("ping", one:read_exactly(4))
        others = others + 1
      until over
    end)
    local sleeper = lilac.create_task(function()
      repeat
        lilac.sleep(0.001)
        sleeps = sleeps + 1
      until over
    end)
    lilac.gather(clients)
    over = true
    lilac.gather { other, sleeper }
    echo:cancel()
    one:close()
    two:close()
    server:kill()
    assert.is_true(others >= count / 10, others)
    assert.is_true(sleeps > 0, sleeps)
  end)

  for name, read in pairs {
    ["read_some"] = function(stream) return stream:read_some(4) end,
    ["read_exactly"] = function(stream) return stream:read_exactly(4) end,
    ["read_until"] = function(stream) return stream:read_until "r" end,
  } do
    it("finds for " .. name .. " the end of the peer, and what came before", function()
      local stream <close>, peer = pair()
      peer:write(("four"):rep(3))
      local reader = lilac.create_task(function()
        return read(stream), read(stream), read(stream), pcall(read, stream)
      end)
      lilac.sleep(0)
      peer:close()
      local one, two, three, ok, rest = reader:await()
      assert.same({ "four", "four", "four" }, { one, two, three })
      assert.is_true(ok and rest == nil or rest.name == "IncompleteReadError")
    end)

    it("tells " .. name .. " of a reset connection as such", function()
      local stream <close>, peer = pair()
      stream:write "nobody reads this"
      peer:write "four"
      assert.equal("four", read(stream))
      local reader = lilac.create_task(function() return pcall(read, stream) end)
      lilac.sleep(0)
      reset(peer)
      local ok, err = reader:await()
      assert.is_false(ok)
      assert.equal("ECONNRESET", err.code)
    end)
  end

  it("tells of a connection that broke, and not of its end", function()
    for _, read in ipairs { "read", "read_exactly", "read_some" } do
      local stream <close>, peer = pair()
      peer:write "one\n"
      stream:read()
      peer:close()
      stream:write "nobody reads this"
      local ok, err = pcall(stream[read], stream, read == "read_exactly" and 4 or nil)
      assert.is_false(ok)
      assert.equal("BrokenPipeError", err.name)
    end
  end)

  it("leaves the reader where it is: a second one is refused", function()
    local first <close>, first_peer = pair()
    local second <close>, second_peer = pair()
    local mistaken = lilac.create_task(function()
      first:read_some(4)
      first:read_some(4)
      return pcall(second.read_some, second)
    end)
    local rightful = lilac.create_task(function()
      second:read_some(4)
      return second:read_some(4)
    end)
    lilac.sleep(0.001)
    first_peer:write "fourfour"
    second_peer:write "four"
    local ok, err = mistaken:await()
    second_peer:write "late"
    assert.is_false(ok)
    assert.equal("InvalidStateError", err.name)
    assert.equal("late", rightful:await())
  end)

  it("loses nothing of a reader that is cancelled in between", function()
    local stream <close>, peer = pair()
    local text = {}
    for i = 1, 200 do text[i] = ("%04d"):format(i) end
    text = table.concat(text)
    peer:write(text)
    local got = {}
    while #got < 200 do
      local reader = lilac.create_task(function()
        while true do got[#got + 1] = stream:read_some(4) end
      end)
      for _ = 1, math.random(0, 5) do lilac.sleep(0) end
      reader:cancel()
      pcall(lilac.gather, reader)
    end
    assert.equal(text, table.concat(got))
  end)

  it("may find a stream that was closed meanwhile", function()
    for turns = 0, 6 do
      local stream, peer = pair()
      peer:write(("four"):rep(10))
      local reader = lilac.create_task(function()
        while true do stream:read_some(4) end
      end)
      for _ = 1, turns do lilac.sleep(0) end
      stream:close()
      local ok, err = pcall(reader.await, reader)
      assert.is_false(ok)
      assert.equal("ClosedError", err.name)
      peer:close()
    end
  end)

  it("reads lines and TLS as well", function()
    local made = certificates()
    local server <close> = lilac.net.serve("127.0.0.1", 0, function(stream)
      for line in stream:lines() do stream:write(line, "\n") end
    end, { tls = { cert = made:path "good.pem", key = made:path "good.key" } })
    local clients = {}
    for i = 1, 8 do
      clients[i] = lilac.create_task(function()
        local stream <close> = lilac.net.connect("localhost", server.port,
          { tls = { ca = made.ca } })
        for j = 1, 20 do
          local line = ("%d %d"):format(i, j)
          stream:write(line, "\n")
          assert.equal(line, stream:read())
        end
      end)
    end
    lilac.gather(clients)
    made:remove()
  end)
end)
