local lilac = require "lilac"
local outcome = require "spec.support.outcome"
local raises = require "spec.support.raises"
local settle = require "spec.support.settle"

-- What TaskGroup:start promises is in spec/modules/group_spec.lua; here are the same-tick cases.

describe("TaskGroup:start", function()
  it("gives the values though the function fails in the same turn, as the group does", function()
    local got
    local ok, err = pcall(function()
      local tg <close> = lilac.TaskGroup()
      got = tg:start(function(started)
        started "value"
        error("oops", 0)
      end)
      lilac.sleep(60)
    end)
    assert.same({ false, "oops" }, { ok, err })
    assert.is_true(got == "value" or got == nil) -- the group's cancellation may come first
  end)

  it("gives the values that came with a cancellation, which is raised next", function()
    local gate, got = lilac.Event(), nil
    local task = settle.start(function()
      local tg <close> = lilac.TaskGroup()
      got = tg:start(function(started)
        gate:wait()
        started "value"
        lilac.sleep(60)
      end)
      lilac.sleep(60)
    end)
    gate:set()
    lilac.sleep(0)
    task:cancel()
    assert.equal("cancelled", outcome(task))
    if not os.getenv "LILAC_SHUFFLE" then assert.equal("value", got) end
  end)

  it("raises a CancelledError about the function when that is cancelled by others", function()
    local tg <close> = lilac.TaskGroup()
    local err = raises("InvalidStateError", tg.start, tg, function()
      lilac.current_task():cancel()
      lilac.sleep(0)
    end)
    assert.matches("ended without calling started", err.message)
  end)
end)
