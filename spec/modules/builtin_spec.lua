-- The modules in the binary: fields of lilac, loaded at first use, and what `require` finds.

local lilac = require "lilac"

describe("lilac", function()
  it("is what require gives, and tells its version", function()
    assert.equal(lilac, require "lilac")
    assert.matches("^%d+%.%d+%.%d+$", lilac._VERSION)
  end)

  it("has its modules as fields, the same that require gives", function()
    for _, name in ipairs { "net", "dns", "errors", "retry", "generator" } do
      local field = lilac[name]
      assert.is_not_nil(field, name)
      assert.equal(field, (require("lilac." .. name)))
      assert.equal(field, rawget(lilac, name))
    end
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
end)
