local run = require "spec.support.child"
local shim = require "spec.support.shim"

-- Runs a script to its end, where it dumps; `wait()` is there to park in.
local function dump(source, options)
  local child = run(("%s; %s\n%s\nlilac.dump() os.exit(0)"):format("local lilac = require 'lilac'",
    "local function wait() lilac.Event():wait() end", source), options)
  assert.equal(0, child.status, child.stderr)
  return child
end

-- What it dumps as a picture: names alone, and their indentation.
local function tree(source)
  local lines = {}
  for indent, name in dump(source).stderr:gmatch "\n( +)task '([^']+)'" do
    lines[#lines + 1] = indent .. name
  end
  return table.concat(lines, "\n")
end

local SECONDS = { s = 1, min = 60, h = 3600, d = 86400 }

describe("dump", function()
  it("prints every task, what it waits for, and where", function()
    local text = dump([[
      lilac.create_task(function() wait() end).name = "waiter"
      lilac.testing.wait_all_blocked()]]).stderr
    assert.matches("^lilac: 2 tasks:\n  task 'Task%-1' %(main%): running at %S+:4 created [^\n]+\n",
      text)
    assert.matches("\n    task 'waiter': event:wait at %S+:1 created %S+ s ago at %S+:2\n$", text)
  end)

  it("shows each task under the one that created it, in the order of their creation", function()
    assert.equal([[
  Task-1
    outer
      inner
        innermost
      inner too
    other]], tree [[
      local function create(name, fn) lilac.create_task(fn or wait).name = name end
      create("outer", function()
        create("inner", function() create("innermost") wait() end)
        create("inner too")
        wait()
      end)
      create("other")
      lilac.testing.wait_all_blocked()]])
  end)

  it("shows at the root who was created by a callback, or by a task that has ended", function()
    assert.equal("  Task-1\n  orphan\n  foundling", tree [[
      lilac.create_task(function() lilac.create_task(wait).name = "orphan" end):await()
      lilac.call_soon(function() lilac.create_task(wait).name = "foundling" end)
      lilac.testing.wait_all_blocked()]])
  end)

  it("shows those that have not begun", function()
    assert.equal("  Task-1\n    begun\n    not begun", tree [[
      lilac.create_task(wait).name = "begun"
      lilac.testing.wait_all_blocked()
      lilac.create_task(wait).name = "not begun"]])
  end)

  it("shows a chain that is longer than it can be indented", function()
    assert.equal(501, select(2, tree([[
      local function descend(depth)
        if depth > 0 then lilac.create_task(descend, depth - 1) end
        wait()
      end
      lilac.create_task(descend, 499)
      lilac.testing.wait_all_blocked()]]):gsub("Task", "")))
  end)

  it("tells ages: never too young, and by an eighth too old at most, over months", function()
    local child = dump([[
      local created = {}
      for i = 1, 4000 do
        lilac.create_task(wait).name = tostring(i)
        created[i] = lilac.time()
        for _ = 1, 4 do lilac.sleep(0) end
      end
      for i, time in ipairs(created) do print(i, lilac.time() - time) end]],
      { env = shim { SHIM_STRIDE = 3600 } })
    local shown = {}
    for name, age, unit in child.stderr:gmatch "task '(%d+)'[^\n]* created (%S+) (%S+) ago" do
      local half = 0.5 * SECONDS[unit]
      shown[name] = { least = age * SECONDS[unit] - half, most = age * SECONDS[unit] + half }
    end
    local last
    for name, age in child.stdout:gmatch "(%d+)\t(%S+)" do
      last = tonumber(age)
      assert.is_true(shown[name].most >= last, name)
      assert.is_true(shown[name].least <= last * 9 / 8 + 1, name)
    end
    assert.is_true(last < 86400)
    assert.is_true(tonumber(child.stdout:match "^1\t(%S+)") > 30 * 86400)
  end)

  it("is what SIGQUIT prints, also while a task computes, and the program goes on", function()
    local child = run [[
      local lilac = require "lilac"
      os.execute("(sleep 0.1; kill -QUIT $PPID) &")
      local start = os.clock()
      while os.clock() - start < 0.3 do end
      print("went on")
    ]]
    assert.equal(0, child.status)
    assert.equal("went on\n", child.stdout)
    assert.matches("lilac: 1 task:\n  task 'Task%-1' %(main%): running at %S+:4 created ",
      child.stderr)
  end)
end)
