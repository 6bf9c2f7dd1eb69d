local lilac = require "lilac"

local fs = lilac.fs

describe("lilac.fs", function()
  it("holds the functions of its parts", function()
    for _, part in ipairs { "paths" } do
      for name, fn in pairs(require("lilac." .. part)) do assert.equal(fn, fs[name], name) end
    end
  end)
end)
