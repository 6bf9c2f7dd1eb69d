local lilac = require "lilac"
local items_of = require "lilac.awaitables"

describe("lilac.awaitables", function()
  it("gives tasks and futures in order, each once", function()
    local a, b = lilac.create_task(function() end), lilac.Future()
    assert.same({ b, a }, items_of("f", { b, a, b, a }))
    assert.same({}, items_of("f", {}))
  end)

  it("starts functions in tasks of their own, each time they are given", function()
    local function fn() return lilac.current_task() end
    local items = items_of("f", { fn, fn })
    assert.equal(2, #items)
    assert.is_true(items[1] ~= items[2])
    for _, task in ipairs(items) do assert.equal(task, task:await()) end
  end)

  it("refuses everything else in the name of its caller, and starts nothing then", function()
    local ran = false
    local function f(list)
      local items = items_of("f", list)
      return items
    end
    local ok, message = pcall(function() f { function() ran = true end, 1 } end)
    assert.is_false(ok)
    assert.matches("awaitables_spec.lua:%d+: bad argument #1 to 'f' %(item 2: function, Task or "
      .. "Future expected, got number%)", message)
    assert.error_matches(function() f(nil) end, "table expected, got nil")
    local function pass() end
    assert.error_matches(function() f { pass, nil, pass } end, "item 2: .* expected, got nil")
    lilac.sleep(0.001)
    assert.is_false(ran)
  end)
end)
