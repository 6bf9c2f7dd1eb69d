local run = require "spec.support.child"

describe("--debug", function()
  it("tells once who holds the loop, and where, while it lasts", function()
    local child = run([[
      local lilac = require "lilac"
      local function busy()
        local start = os.clock()
        while os.clock() - start < 0.3 do end
      end
      lilac.create_task(busy):await()
      print "over"
    ]], { options = "--debug --slow-callback 0.05" })
    assert.equal("over\n", child.stdout)
    assert.matches("^lilac: task 'Task%-2' has held the loop for 0%.%d+ s\nstack traceback:\n",
      child.stderr)
    assert.matches("script.lua:4: in function", child.stderr)
    assert.equal(1, select(2, child.stderr:gsub("has held", "")))
  end)

  it("says nothing of tasks that await in time", function()
    local child = run([[
      for _ = 1, 20 do require "lilac".sleep(0.01) end
    ]], { options = "--debug" })
    assert.equal("", child.stderr)
    assert.equal(0, child.status)
  end)
end)
