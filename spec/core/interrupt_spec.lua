-- What stops code that computes: at a clean instruction, and without harm to the user's own hooks.

local lilac = require "lilac"

-- Computes until it is interrupted; calls `step` (if any) all the time → whether it was.
local function interrupted(step)
  local ok, err = pcall(lilac.timeout, 0.03, { interrupt = true }, function()
    while true do
      if step then step() end
    end
  end)
  return not ok and err.name == "TimeoutError"
end

local function compute() for _ = 1, 1e4 do local _ = math.abs(1) end end

describe("an interrupt scope", function()
  after_each(function() debug.sethook() end)

  it("stops a loop that computes", function()
    assert.is_true(interrupted())
  end)

  it("stops it in a coroutine, in pcall, in a metamethod, in a callback of C", function()
    assert.is_true(interrupted(coroutine.wrap(function() while true do end end)))
    assert.is_true(interrupted(function() pcall(function() while true do end end) end))
    assert.is_true(interrupted(function()
      return setmetatable({}, { __index = function() while true do end end }).x
    end))
    assert.is_true(interrupted(function()
      table.sort({ 3, 2, 1 }, function() while true do end end)
    end))
  end)

  it("stops a generator that yields, and its user", function()
    local next = coroutine.wrap(function() while true do coroutine.yield() end end)
    assert.is_true(interrupted(next))
  end)

  it("lets <close> variables run and await", function()
    local closed
    assert.is_true(interrupted(function()
      local _ <close> = setmetatable({}, { __close = function()
        lilac.sleep(0.001)
        closed = true
      end })
      while true do end
    end))
    assert.is_true(closed)
  end)

  it("does nothing to code that comes to an end in time", function()
    local sum = 0
    lilac.timeout(9, { interrupt = true }, function()
      for i = 1, 1e6 do sum = sum + i end
    end)
    assert.equal(500000500000, sum)
  end)

  it("stops only the task that is in it", function()
    local other = lilac.create_task(function()
      local finish = lilac.time() + 0.06
      while lilac.time() < finish do end
      return "untouched"
    end)
    pcall(lilac.timeout, 0.01, { interrupt = true }, lilac.sleep, 9)
    assert.equal("untouched", other:await())
  end)
end)

describe("the user's hooks", function()
  after_each(function() debug.sethook() end)

  for mask, name in pairs { [""] = "count", l = "line", c = "call", r = "return" } do
    it("go on through an interruption: a " .. name .. " hook", function()
      local events = 0
      local function hook() events = events + 1 end
      debug.sethook(hook, mask, mask == "" and 100 or nil)
      compute()
      assert.is_true(events > 0)
      events = 0
      assert.is_true(interrupted(compute))
      assert.is_true(events > 0)
      local now, now_mask, now_count = debug.gethook()
      assert.equal(hook, now)
      assert.equal(mask, now_mask)
      assert.equal(mask == "" and 100 or 0, now_count)
      events = 0
      compute()
      assert.is_true(events > 0)
      debug.sethook()
      events = 0
      compute()
      assert.equal(0, events)
      assert.is_nil(debug.gethook())
    end)
  end

  it("see the events of their mask alone while they are interrupted", function()
    local seen = {}
    debug.sethook(function(event) seen[event] = true end, "l")
    interrupted(compute)
    debug.sethook()
    assert.same({ line = true }, seen)
  end)

  it("may be set and removed all the time without hiding an interruption", function()
    local function hook() end
    assert.is_true(interrupted(function()
      debug.sethook(hook, "l")
      debug.sethook()
    end))
    debug.sethook()
  end)

  it("may raise errors, also while an interruption is near", function()
    local raised = 0
    local ok, result = pcall(interrupted, function()
      local ok, err = pcall(function()
        debug.sethook(function() debug.sethook() error "hooked" end, "l")
        local _ = 1
        return _
      end)
      debug.sethook()
      if not ok and tostring(err):find "hooked" then raised = raised + 1 end
    end)
    -- What was interrupted with its hook in place has left it to who went on.
    assert.is_true(ok and result or tostring(result):find "hooked" ~= nil)
    assert.is_true(raised > 0)
  end)

  it("stay with their coroutine when a tick comes just before it waits", function()
    local lost = 0
    local _ <close> = lilac.timeout(60, { interrupt = true }) -- so that there are ticks
    local function worker()
      local events = 0
      coroutine.wrap(function()
        debug.sethook(function() events = events + 1 end, "", 100)
        for _ = 1, 4 do
          events = 0
          compute()
          if events == 0 then lost = lost + 1 end
          os.execute "sleep 0.025"
          lilac.sleep(0.001)
        end
      end)()
    end
    lilac.gather(worker, worker, worker)
    assert.equal(0, lost)
  end)

  it("are not inherited by what an interrupted state creates", function()
    assert.is_true(interrupted(function()
      local hook = debug.gethook(coroutine.create(compute))
      assert(hook == nil or hook == "external hook")
    end))
  end)
end)
