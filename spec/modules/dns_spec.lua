local lilac = require "lilac"
local raises = require "spec.support.raises"
local settle = require "spec.support.settle"

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
    assert.equal("http", service)
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
