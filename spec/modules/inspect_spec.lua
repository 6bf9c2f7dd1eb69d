local run = require "spec.support.child"

describe("dump", function()
  it("prints every task, what it waits for, and where", function()
    local child = run [[
      local lilac = require "lilac"
      lilac.create_task(function() lilac.Event():wait() end).name = "waiter"
      lilac.sleep(0.01)
      lilac.dump()
      os.exit(0)
    ]]
    assert.equal(0, child.status)
    assert.matches("lilac: 2 tasks:\n  task 'Task%-1' %(main%): running at %S+:4\n", child.stderr)
    assert.matches("task 'waiter': event:wait at %S+:2 created at %S+:2", child.stderr)
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
    assert.matches("lilac: 1 task:\n  task 'Task%-1' %(main%): running at %S+:4\n", child.stderr)
  end)
end)
