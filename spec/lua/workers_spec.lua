local lilac = require "lilac"
local raises = require "spec.support.raises"
local run = require "spec.support.child"
local script = require "spec.support.script"

local net = lilac.net

-- One line to a server, and its answer.
local function ask(port, line)
  local stream <close> = net.connect("127.0.0.1", port)
  stream:write(line, "\n")
  return stream:read "a"
end

describe("serve with workers", function()
  it("serves on all of them, each with its copy of the handler", function()
    local count = 0
    local tag = lilac.Channel()
    local server <close> = net.serve("127.0.0.1", 0, function(stream)
      count = count + 1
      tag:put(tostring(lilac))
      stream:write(stream:read "L")
    end, { workers = 2 })
    assert.matches("^Server %(port %d+, 2 workers%)$", tostring(server))
    local states, found = {}, 0
    while found < 2 do -- the system spreads the connections by their ports
      assert.equal("hello\n", ask(server.port, "hello"))
      local state = tag:get()
      if not states[state] then found = found + 1 end
      states[state] = true
    end
    assert.equal(0, count)
  end)

  it("stops accepting when it is closed, and lets the connections go on", function()
    local server = net.serve("127.0.0.1", 0, function(stream)
      stream:write "begun\n"
      stream:write(stream:read "L")
    end, { workers = 2 })
    local stream <close> = net.connect("127.0.0.1", server.port)
    assert.equal("begun", stream:read "l")
    server:close()
    server:close()
    local waits = lilac.create_task(server.wait_closed, server)
    lilac.sleep(0.001)
    assert.is_false(waits:done())
    stream:write "last\n"
    assert.equal("last\n", stream:read "a")
    waits:await()
    raises("ConnectionRefusedError", net.connect, "127.0.0.1", server.port)
  end)

  it("cancels the handlers when an error leaves its scope", function()
    local began, ended = lilac.Channel(), lilac.Channel()
    local ok, err = pcall(function()
      local server <close> = net.serve("127.0.0.1", 0, function()
        local _ <close> = setmetatable({}, { __close = function() ended:put(true) end })
        began:put(true)
        lilac.sleep(99)
      end, { workers = 2 })
      local _ <close> = net.connect("127.0.0.1", server.port)
      began:get()
      error("oops", 0)
    end)
    assert.is_false(ok)
    assert.equal("oops", err)
    assert.is_true(ended:get_nowait())
  end)

  it("raises at once what stands in its way", function()
    local taken <close> = net.listen("127.0.0.1", 0)
    raises("AddressInUseError", net.serve, "127.0.0.1", taken.port, print, { workers = 2 })
    local queue = lilac.Queue()
    local ok, err = pcall(net.serve, "127.0.0.1", 0, function() queue:get() end, { workers = 2 })
    assert.is_false(ok)
    assert.matches("upvalue 'queue': a Queue cannot be sent to another thread", err)
  end)

  it("leaves no worker behind when it is cancelled before all listen", function()
    for turns = 0, 6, 2 do
      local task = lilac.create_task(net.serve, "127.0.0.1", 0, print, { workers = 2 })
      for _ = 1, turns do lilac.sleep(0.001) end
      task:cancel()
      lilac.wait { task }
      if not task:cancelled() then -- it came too late
        local server = task:result()
        server:close()
        server:wait_closed()
      end
      for _, other in ipairs(lilac.all_tasks()) do assert.not_matches("worker", other.name) end
    end
  end)

  it("refuses a wrong number", function()
    for _, wrong in ipairs { 0, -1, 1.5, "two", 1e9, {} } do
      local ok, err = pcall(net.serve, "127.0.0.1", 0, print, { workers = wrong })
      assert.is_false(ok)
      assert.matches("option 'workers': number of threads, or 'auto', expected", err)
    end
    assert.is_true(lilac.cpu_count() >= 1)
    local server <close> = net.serve("127.0.0.1", 0, print, { workers = "auto" })
    assert.matches(" " .. lilac.cpu_count() .. " workers", tostring(server))
  end)
end)

describe("a worker that fails", function()
  it("is reported and started again, and the server goes on", function()
    local child = run([[
      local lilac = require "lilac"
      local server <close> = lilac.net.serve("127.0.0.1", 0, function(stream)
        if stream:read "l" == "crash" then
          for _, task in ipairs(lilac.all_tasks()) do task:cancel "crash" end
        end
        stream:write(state or "new", "\n")
        state = "old"
      end, { workers = 1 })
      local function try(line)
        local stream <close> = lilac.net.connect("127.0.0.1", server.port)
        stream:write(line, "\n")
        return stream:read "l"
      end
      local function ask(line) return select(2, pcall(try, line)) end
      print(ask "hello", ask "hello")
      ask "crash"
      local answer
      repeat answer = ask "hello" until answer == "new"
      print(answer)]], { limit = 30 })
    assert.equal("new\told\nnew\n", child.stdout)
    assert.matches("^lilac: worker 1 of the server failed, and is started again in 0.1 s: "
      .. "CancelledError: .-: crash\n", child.stderr)
    assert.equal(0, child.status)
  end)

  -- A server whose worker crashes at every connection; it is started again at once, or never.
  local CRASHING = [[
    local lilac = require "lilac"
    lilac.set_exception_handler(function() end)
    local server = lilac.net.serve("127.0.0.1", 0, function()
      for _, task in ipairs(lilac.all_tasks()) do task:cancel "crash" end
    end, { workers = 1 })
    local function crash()
      local ok, stream
      repeat ok, stream = pcall(lilac.net.connect, "127.0.0.1", server.port) until ok
      pcall(stream.read, stream, "a")
    end
    local pauses, starts_again, move_on_after = lilac.Queue(), false, lilac.move_on_after
    function lilac.move_on_after(seconds, ...)
      if seconds then pauses:put(seconds) end
      return move_on_after(seconds and starts_again and 0 or nil, ...)
    end
  ]]

  it("is not waited for in the pause before its next start", function()
    local child = run(CRASHING .. [[
      crash()
      print(pauses:get())
      server:close()
      server:wait_closed()
      print "closed"]], { limit = 30 })
    assert.equal("", child.stderr)
    assert.equal("0.1\nclosed\n", child.stdout)
  end)

  it("is given up when it fails again and again, and with it the server", function()
    local child = run(CRASHING .. [[
      starts_again = true
      lilac.create_task(function()
        for _ = 1, 4 do
          crash()
          print(pauses:get())
        end
        crash()
      end)
      print(pcall(server.serve_forever, server))]], { limit = 30 })
    assert.equal("", child.stderr)
    assert.matches("^0.1\n0.2\n0.4\n0.8\nfalse\tCancelledError: .-: crash\n", child.stdout)
  end)
end)

describe("lilac --workers", function()
  it("runs the script on so many loops, with its arguments", function()
    local child = run([[
      local workers = require "lilac".workers
      io.write(("%d/%d %s %s\n"):format(workers.current, workers.count, arg[1], select(2, ...)))]],
      { options = "--workers 3", args = "a b", limit = 30 })
    local lines = {}
    for line in child.stdout:gmatch "[^\n]+" do lines[#lines + 1] = line end
    table.sort(lines)
    assert.same({ "1/3 a b", "2/3 a b", "3/3 a b" }, lines)
    assert.equal(0, child.status)
    assert.equal("", child.stderr)
  end)

  it("lets them share a port", function()
    local path = os.tmpname()
    local job <close> = script(([[
      local lilac = require "lilac"
      local path, port = "%s", nil
      local is_first = lilac.workers.current == 1
      io.stdout:setvbuf "no"
      while not is_first and not port do
        lilac.sleep(0.001)
        port = tonumber(lilac.fs.read_file(path))
      end
      local server <close> = lilac.net.serve("127.0.0.1", port or 0, function(stream)
        stream:write(stream:read "l", " ", lilac.workers.current, "\n")
      end)
      if is_first then lilac.fs.write_file(path, tostring(server.port)) end
      io.write "listening\n" -- at once: print would let the other one in before the newline
      local _ <close> = setmetatable({}, { __close = function() io.write "closing\n" end })
      server:serve_forever()]]):format(path), "--workers 2")
    job:wait_for "listening\nlistening\n"
    local port, seen = tonumber(lilac.fs.read_file(path)), {}
    os.remove(path)
    repeat seen[ask(port, "hi")] = true until seen["hi 1\n"] and seen["hi 2\n"]
    job:kill "TERM"
    assert.equal(128 + 15, job:wait())
    assert.equal("listening\nlistening\nclosing\nclosing\n", job:output())
    assert.equal("", job:errors())
  end)

  it("tells them all of a signal that they listen for", function()
    local job <close> = script([[
      local lilac = require "lilac"
      io.stdout:setvbuf "no"
      local next <close> = lilac.signal.iter "TERM"
      io.write "listening\n"
      io.write(next() .. "\n")]], "--workers 2")
    job:wait_for "listening\nlistening\n"
    job:kill "TERM"
    assert.equal(0, job:wait())
    assert.equal("listening\nlistening\nSIGTERM\nSIGTERM\n", job:output())
  end)

  it("starts none again when one has come to its end", function()
    local child = run([[
      local lilac = require "lilac"
      lilac.set_exception_handler(function(context) print(context.message) end)
      local finish = lilac.Channel()
      local move_on_after = lilac.move_on_after
      function lilac.move_on_after(_, ...) -- the pause of a worker that has failed
        finish:put(true)
        return move_on_after(nil, ...)
      end
      lilac.workers.main(2, function()
        if lilac.workers.current == 1 then error "bad" end
        finish:get()
      end)
      print "over"]], { limit = 30 })
    assert.equal("", child.stderr)
    assert.equal("worker 1 failed, and is started again in 0.1 s\nover\n", child.stdout)
  end)

  it("starts again what fails, with a new state, and gives up when that is no use", function()
    local child = run([[
      local lilac = require "lilac"
      assert(not again)
      again = true
      if lilac.workers.current == 1 then error "bad" end
      lilac.sleep(99)]], { options = "--workers 2", limit = 30 })
    local _, count = child.stderr:gsub("lilac: worker 1 failed, and is started again in "
      .. "[%d.]+ s: script.lua:4: bad\nstack traceback:.-script.lua:4: in main chunk", "")
    assert.equal(4, count)
    assert.matches("\nlilac: script.lua:4: bad\n", child.stderr)
    assert.equal(1, child.status)
  end)

  it("reports once what does not compile, and ends", function()
    local child = run("x = = 1", { options = "--workers 2", limit = 30 })
    assert.equal("lilac: script.lua:1: unexpected symbol near '='\n", child.stderr)
    assert.equal(1, child.status)
  end)

  it("ends with os.exit of one of them", function()
    local child = run([[
      local lilac = require "lilac"
      local _ <close> = setmetatable({}, { __close = function() io.write "left\n" end })
      if lilac.workers.current == 2 then os.exit(7) end
      lilac.sleep(99)]], { options = "--workers 2", limit = 30 })
    assert.equal(7, child.status)
    assert.matches("^left\n", child.stdout) -- and the other one, if it had begun
  end)

  it("refuses a script that comes over stdin", function()
    local child = run("", { options = "--workers 2 -" })
    assert.equal(2, child.status)
    assert.matches("^lilac: %-%-workers: only one of them could read stdin: name a script\n",
      child.stderr)
  end)

  it("ends by a signal while a worker is to be started again", function()
    local mark = os.tmpname()
    local job <close> = script(([[
      local lilac = require "lilac"
      if os.remove "%s" then error "bad" end
      lilac.sleep(99)]]):format(mark), "--workers 2")
    job:wait_for_errors "failed, and is started again"
    job:kill "TERM"
    assert.equal(128 + 15, job:wait())
  end)

  it("refuses a wrong number", function()
    for _, wrong in ipairs { "0", "x", "2x", "-1", "99999" } do
      local child = run("", { options = "--workers=" .. wrong })
      assert.equal(2, child.status)
      assert.equal(("lilac: --workers: expected auto, or an integer from 1 to 1024, got '%s'\n")
        :format(wrong), child.stderr)
    end
  end)
end)
