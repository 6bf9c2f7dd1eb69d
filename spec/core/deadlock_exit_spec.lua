-- A deadlock that nobody catches ends the process with status 3, and shows who waits for what.

local run = require "spec.support.child"

local function deadlocks(source)
  local child = run("local lilac = require 'lilac'\n" .. source, { name = "d.lua", limit = 20 })
  assert.equal(3, child.status, child.stderr)
  assert.equal("", child.stdout)
  return child.stderr
end

describe("a deadlock", function()
  it("of main alone ends the process with status 3", function()
    assert.equal([[
lilac: DeadlockError: nothing is ready, and no timer or I/O is left to wait for; parked are:
  task 'Task-1' (main): event:wait at d.lua:2
stack traceback:
	[C]: in method 'wait'
	d.lua:2: in main chunk
	[C]: in ?
]], deadlocks "lilac.Event():wait()")
  end)

  it("lists every parked task, what it waits for, and where", function()
    local text = deadlocks [[
local queue = lilac.Queue()
local task = lilac.create_task(function() queue:get() end)
task.name = "consumer"
task:await()]]
    assert.matches("task 'Task%-1' %(main%): await %(task 'consumer'%) at d.lua:5", text)
    assert.matches("task 'consumer': queue:get [^\n]*at d.lua:3 created at d.lua:3", text)
  end)

  it("has status 3 in a coroutine, in pcall's callee and under a close handler", function()
    deadlocks "coroutine.wrap(function() lilac.Future():await() end)()"
    deadlocks [[
      local _ <close> = setmetatable({}, { __close = function() lilac.sleep(0) end })
      lilac.Event():wait()]]
  end)

  it("can be caught: then the status is main's own", function()
    local child = run([[
      local lilac = require "lilac"
      local ok, err = pcall(function() lilac.Event():wait() end)
      print(ok, err.name)]], { limit = 20 })
    assert.equal("false\tDeadlockError\n", child.stdout)
    assert.equal(0, child.status)
  end)

  it("is not seen where a timer or a deadline is left", function()
    local child = run([[
      local lilac = require "lilac"
      print((lilac.move_on_after(0.02, function() lilac.Event():wait() end)))]], { limit = 20 })
    assert.equal("false\n", child.stdout)
    assert.equal(0, child.status)
  end)

  it("of tasks that nobody waits for does not disturb main", function()
    local child = run([[
      local lilac = require "lilac"
      lilac.create_task(function() lilac.Event():wait() end)
      lilac.sleep(0.001)
      print "done"]], { limit = 20 })
    assert.equal("done\n", child.stdout)
    assert.equal(0, child.status)
    assert.equal("", child.stderr)
  end)

  it("in a circle of awaits is raised in the task that closes it", function()
    local child = run([[
      local lilac = require "lilac"
      local a, b
      a = lilac.create_task(function() b:await() end)
      b = lilac.create_task(function() a:await() end)
      b:await()]], { limit = 20 })
    assert.equal(3, child.status)
    assert.matches("DeadlockError: deadlock: task 'Task%-[23]' would wait for task 'Task%-[23]'",
      child.stderr)
  end)
end)
