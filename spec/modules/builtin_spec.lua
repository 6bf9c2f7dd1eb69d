-- The modules in the binary: fields of lilac, loaded at first use, and what `require` finds.

local lilac = require "lilac"
local run = require "spec.support.child"

describe("lilac", function()
  it("is what require gives, and tells its version", function()
    assert.equal(lilac, require "lilac")
    assert.matches("^%d+%.%d+%.%d+$", lilac._VERSION)
  end)

  -- In a lilac of its own, as busted gives each file a package.loaded of its own.
  it("has its modules as fields, the same that require gives", function()
    local child = run [[
      local lilac = require "lilac"
      for _, name in ipairs { "net", "dns", "errors", "retry", "generator" } do
        local field = assert(lilac[name], name)
        assert(field == require("lilac." .. name), name)
        assert(field == rawget(lilac, name), name)
      end
    ]]
    assert.equal("", child.stderr)
    assert.equal(0, child.status)
  end)

  it("has no field of any other name, and no error about it", function()
    assert.is_nil(lilac.nonsense)
    assert.is_nil(lilac[1])
    assert.is_nil(lilac[{}])
  end)

  it("leaves the other searchers as they were, after package.preload its own", function()
    assert.equal(5, #package.searchers)
    local loader, data = package.searchers[2] "lilac.retry"
    assert.equal("function", type(loader))
    assert.equal(":lilac:", data)
    assert.is_nil((package.searchers[2] "string"))
    assert.equal("no module 'lilac.none' in lilac", (package.searchers[2] "lilac.none"))
  end)

  it("loads a module of package.preload in place of its own", function()
    local own = package.loaded["lilac.retry"]
    package.loaded["lilac.retry"] = nil
    package.preload["lilac.retry"] = function() return "another" end
    assert.equal("another", (require "lilac.retry"))
    package.preload["lilac.retry"], package.loaded["lilac.retry"] = nil, own
  end)

  it("are fields of a table", function()
    assert.error_matches(function() getmetatable(lilac).__index(1, "retry") end,
      "table expected, got number")
  end)
end)
