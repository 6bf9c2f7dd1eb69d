local lilac = require "lilac"
local raises = require "spec.support.raises"
local settle = require "spec.support.settle"

describe("pool:map", function()
  it("returns the first results in the order of the list", function()
    local pool <close> = lilac.ThreadPool(2)
    local results = pool:map(function(x)
      if x == 2 then return nil end
      return x * x, "second"
    end, { 1, 2, 3, 4 })
    assert.same({ 1, nil, 9, 16, n = 4 }, results)
    assert.same({ n = 0 }, pool:map(print, {}))
  end)

  it("runs at most `concurrency` at once", function()
    local pool <close> = lilac.ThreadPool(4)
    local counts = lilac.Channel()
    pool:map(function(x)
      counts:put(1)
      lilac.sleep(0.001)
      counts:put(-1)
      return x
    end, { 1, 2, 3, 4, 5, 6 }, { concurrency = 2 })
    local now, most = 0, 0
    while not counts:empty() do
      now = now + counts:get_nowait()
      most = math.max(most, now)
    end
    assert.equal(0, now)
    assert.is_true(most <= 2)
  end)

  it("raises the first error, and cancels the rest", function()
    local pool <close> = lilac.ThreadPool(2)
    local ok, err = pcall(pool.map, pool, function(x)
      if x == 2 then error("bad " .. x, 0) end
      lilac.sleep(99)
    end, { 1, 2, 3 })
    assert.is_false(ok)
    assert.equal("bad 2", err)
    assert.matches(" 0 jobs", tostring(pool))
  end)

  it("cancels all when it is cancelled", function()
    local pool <close> = lilac.ThreadPool(2)
    local task = settle.start(pool.map, pool, lilac.sleep, { 99, 99, 99 })
    task:cancel()
    lilac.wait { task }
    assert.is_true(task:cancelled())
    assert.matches(" 0 jobs", tostring(pool))
  end)

  it("refuses wrong arguments", function()
    local pool <close> = lilac.ThreadPool(1)
    local function message(...) return select(2, pcall(pool.map, pool, ...)) end
    assert.matches("#1 to 'map' %(function expected, got number", message(1, {}))
    assert.matches("#2 to 'map' %(table expected, got nil", message(print))
    assert.matches("#3 to 'map' %(table expected, got number", message(print, {}, 1))
    assert.matches("unknown option 'limit'; known: concurrency", message(print, {}, { limit = 1 }))
    assert.matches("option 'concurrency': positive integer expected, got 0",
      message(print, {}, { concurrency = 0 }))
    pool:shutdown()
    raises("InvalidStateError", pool.map, pool, print, { 1 })
  end)
end)
