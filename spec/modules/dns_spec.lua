local lilac = require "lilac"
local raises = require "spec.support.raises"
local run = require "spec.support.child"
local settle = require "spec.support.settle"
local shim = require "spec.support.shim"

local dns = lilac.dns

describe("dns.getaddrinfo", function()
  it("finds the addresses of a name", function()
    local found = dns.getaddrinfo("localhost", 80)
    assert.is_true(#found > 0)
    for _, at in ipairs(found) do
      assert.equal(80, at.port)
      assert.is_true(at.address == "127.0.0.1" or at.address == "::1", at.address)
      assert.equal(at.address == "::1" and "inet6" or "inet", at.family)
    end
  end)

  it("returns a numeric address as it is", function()
    assert.same({ { address = "192.0.2.7", family = "inet", port = 0 } },
      dns.getaddrinfo "192.0.2.7")
    assert.same({ { address = "2001:db8::1", family = "inet6", port = 443 } },
      dns.getaddrinfo("2001:DB8::1", "443"))
  end)

  it("takes the name of a service", function()
    assert.same({ { address = "127.0.0.1", family = "inet", port = 80 } },
      dns.getaddrinfo("127.0.0.1", "http"))
  end)

  it("keeps to a family", function()
    for _, at in ipairs(dns.getaddrinfo("localhost", 80, { family = "inet" })) do
      assert.equal("inet", at.family)
    end
    raises("DNSError", dns.getaddrinfo, "127.0.0.1", 80, { family = "inet6" })
  end)

  it("finds what to listen on", function()
    local found = {}
    for _, at in ipairs(dns.getaddrinfo(nil, 80, { passive = true })) do
      found[at.address] = at.port
    end
    assert.equal(80, found["0.0.0.0"])
  end)

  it("raises DNSError for a name that does not exist", function()
    local err = raises("DNSError", dns.getaddrinfo, "nosuch.invalid")
    assert.matches("^getaddrinfo nosuch.invalid: ", err.message)
    assert.matches("^EAI_", err.code)
    assert.equal("getaddrinfo", err.syscall)
  end)

  it("can be cancelled while it waits, and many can wait", function()
    local tasks = {}
    for i = 1, 20 do tasks[i] = lilac.create_task(dns.getaddrinfo, "localhost", i) end
    lilac.sleep(0)
    for i = 1, 20, 2 do tasks[i]:cancel() end
    settle()
    for i = 2, 20, 2 do assert.equal(i, tasks[i]:await()[1].port) end
    for i = 1, 20, 2 do assert.is_true(tasks[i]:done()) end
  end)

  it("checks its arguments", function()
    assert.error_matches(function() dns.getaddrinfo() end, "host expected")
    assert.error_matches(function() dns.getaddrinfo {} end, "string expected, got table")
    assert.error_matches(function() dns.getaddrinfo("localhost", 65536) end, "port must be")
    assert.error_matches(function() dns.getaddrinfo("localhost", 1, { family = "x" }) end,
      "option 'family': 'inet', 'inet6' or 'any' expected, got 'x'")
    assert.error_matches(function() dns.getaddrinfo("localhost", 1, { flags = 1 }) end,
      "unknown option 'flags'")
  end)
end)

describe("dns.getnameinfo", function()
  it("finds the names of an address and a port", function()
    local host, service = dns.getnameinfo("127.0.0.1", 80)
    assert.equal("localhost", host)
    local named = io.open "/etc/services" -- comes with another package
    assert.equal(named and "http" or "80", service)
  end)

  it("can be cancelled while it waits", function()
    local task = lilac.create_task(dns.getnameinfo, "127.0.0.1", 80)
    lilac.sleep(0)
    task:cancel()
    settle()
    assert.is_true(task:done())
  end)

  it("checks its arguments", function()
    assert.error_matches(function() dns.getnameinfo "localhost" end, "numeric address expected")
    assert.error_matches(function() dns.getnameinfo("127.0.0.1", -1) end, "port must be")
  end)
end)

describe("a resolver that hangs", function()
  --- Runs a program in which names that begin with "hang" wait for `open_gate()`.
  local function with_gate(source)
    local base = os.tmpname()
    os.remove(base)
    local prelude = ([[
      local lilac = require "lilac"
      local dns, gate, asked = lilac.dns, %q, %q
      local function open_gate() io.open(gate, "w"):close() end
      local function questions()
        local file = io.open(asked)
        return file and file:read "a" or ""
      end
      local function start(name)
        local task = lilac.create_task(dns.getaddrinfo, name, 80)
        while not questions():find(name, 1, true) do lilac.sleep(0.001) end
        return task
      end
    ]]):format(base, base .. ".log")
    local child = run(prelude .. source, {
      env = shim { SHIM_GATE = base, SHIM_LOG = base .. ".log", UV_THREADPOOL_SIZE = 4 } })
    os.remove(base)
    os.remove(base .. ".log")
    assert.equal("", child.stderr)
    return child.stdout
  end

  it("holds up neither files, nor numeric addresses, nor other names", function()
    assert.equal("127.0.0.1\nthis file is read\n127.0.0.9\t127.0.0.9\n", with_gate [[
      local hanging = {}
      for i = 1, 4 do hanging[i] = start("hang" .. i) end -- as many as libuv has threads
      local server = lilac.net.serve("127.0.0.1", 0, function() end)
      for _ = 1, 20 do lilac.net.connect("127.0.0.1", server.port):close() end
      server:close()
      for _ = 1, 20 do assert(#lilac.fs.read_file "Makefile" > 0) end
      print(dns.getaddrinfo("127.0.0.1", 80)[1].address)
      assert(#dns.getaddrinfo("localhost", 80) > 0)
      local file <close> = lilac.fs.open(arg[0])
      print((file:read "a":match "this file" or "not") .. " is read")
      open_gate()
      print(hanging[1]:await()[1].address, hanging[4]:await()[1].address)
    ]])
  end)

  it("is asked once about a name, by however many tasks", function()
    assert.equal("20\t127.0.0.9\nhang\n", with_gate [[
      local tasks = { start "hang" }
      for i = 2, 20 do tasks[i] = lilac.create_task(dns.getaddrinfo, "hang", 80) end
      lilac.sleep(0)
      open_gate()
      local found = lilac.gather(tasks)
      print(#found, found[20][1].address)
      found[1][1].address = "changed"
      assert(found[2][1].address == "127.0.0.9")
      io.write(questions())
    ]])
  end)

  it("lets a cancelled task go at once, and the next one join what goes on", function()
    assert.equal("TimeoutError\nTimeoutError\n127.0.0.9\nhang\n", with_gate [[
      local first = start "hang"
      first:cancel()
      for _ = 1, 2 do
        local _, err = pcall(lilac.timeout, 0.01, dns.getaddrinfo, "hang", 80)
        print(err.name)
      end
      local last = lilac.create_task(dns.getaddrinfo, "hang", 80)
      lilac.sleep(0)
      open_gate()
      print(last:await()[1].address)
      io.write(questions())
    ]])
  end)

  it("is asked anew about what no thread had begun when all gave up", function()
    assert.equal("127.0.0.9\n", with_gate [[
      local one, two = start "hang1", start "hang2"
      local third = lilac.create_task(dns.getaddrinfo, "hang3", 80)
      lilac.sleep(0)
      third:cancel()
      lilac.sleep(0)
      local fourth = lilac.create_task(dns.getaddrinfo, "hang3", 80)
      lilac.sleep(0)
      open_gate()
      one:await()
      two:await()
      print(fourth:await()[1].address)
    ]])
  end)

  it("is asked separately about another port or family", function()
    assert.equal("80\t81\thang\nhang\n", with_gate [[
      local one = start "hang"
      local two = lilac.create_task(dns.getaddrinfo, "hang", 81)
      while select(2, questions():gsub("\n", "")) < 2 do lilac.sleep(0.001) end
      open_gate()
      io.write(one:await()[1].port, "\t", two:await()[1].port, "\t")
      io.write(questions())
    ]])
  end)
end)

describe("dns.is_numeric", function()
  it("tells addresses from names", function()
    for host, expected in pairs { ["127.0.0.1"] = true, ["::1"] = true, ["fe80::1%lo"] = true,
      localhost = false, ["127.1"] = false, [""] = false, ["127.0.0.1\0"] = false } do
      assert.equal(expected, dns.is_numeric(host), host)
    end
    assert.error_matches(function() dns.is_numeric() end, "string expected, got no value")
  end)
end)
