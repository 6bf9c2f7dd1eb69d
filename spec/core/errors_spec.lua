local lilac = require "lilac"
local errors = lilac.errors

describe("errors.new", function()
  it("makes an error with a name and a message, that reads well", function()
    local err = errors.new("QueueFull", "no room")
    assert.equal("QueueFull", err.name)
    assert.equal("no room", err.message)
    assert.equal("QueueFull: no room", tostring(err))
    assert.is_nil(err.code)
    assert.is_nil(err.cause)
  end)

  it("takes more fields", function()
    local cause = {}
    local err = errors.new("OSError", "x",
      { code = "EIO", errno = 5, cause = cause, partial = "p" })
    assert.equal("EIO", err.code)
    assert.equal(5, err.errno)
    assert.equal(cause, err.cause)
    assert.equal("p", err.partial)
    assert.equal("OSError", err.name)
  end)

  it("makes an object that error raises as it is, without a position", function()
    local err = errors.new("QueueEmpty", "x")
    local ok, raised = pcall(error, err)
    assert.is_false(ok)
    assert.equal(err, raised)
    assert.equal("QueueEmpty: x", tostring(raised))
  end)

  it("refuses unknown classes and wrong fields", function()
    assert.error_matches(function() errors.new("NoError", "x") end, "unknown error class 'NoError'")
    assert.error_matches(function() errors.new("OSError") end, "string expected, got no value")
    assert.error_matches(function() errors.new("OSError", "x", 1) end, "table expected, got number")
    assert.error_matches(function() errors.new("OSError", "x", { 1 }) end, "names of fields")
  end)
end)

describe("an error object", function()
  it("may be given fields, but no other name", function()
    local err = errors.new("OSError", "x")
    err.url = "http://localhost"
    err.message = "y"
    assert.equal("http://localhost", err.url)
    assert.equal("OSError: y", tostring(err))
    assert.error_matches(function() err.name = "QueueFull" end,
      "name of an error cannot be changed")
  end)

  it("is its text where it is concatenated with strings, numbers and others of its kind", function()
    local err = errors.new("OSError", "x")
    assert.equal("it failed: OSError: x!", "it failed: " .. err .. "!")
    assert.equal("1OSError: xOSError: x2.5", 1 .. err .. err .. 2.5)
    assert.error_matches(function() return {} .. err end, "attempt to concatenate a table value")
    assert.error_matches(function() return err .. nil end, "attempt to concatenate a nil value")
  end)

  it("has no fields that were not set", function()
    local err = errors.new("OSError", "x")
    assert.is_nil(err.anything)
    assert.is_nil(err[1])
    assert.is_nil(err[{}])
  end)
end)

describe("errors.is", function()
  it("knows an error by its class and by the parents of that", function()
    local err = errors.new("ConnectionRefusedError", "x")
    for _, class in ipairs { "ConnectionRefusedError", "ConnectionError", "OSError", "Error" } do
      assert.is_true(errors.is(err, class))
    end
    for _, class in ipairs { "ConnectionResetError", "TimeoutError", "CancelledError" } do
      assert.is_false(errors.is(err, class))
    end
  end)

  it("knows all classes of the manual", function()
    local parents = { TimeoutError = "OSError", ConnectionRefusedError = "OSError",
      ConnectionResetError = "OSError", BrokenPipeError = "OSError", FileNotFoundError = "OSError",
      FileExistsError = "OSError", PermissionError = "OSError", AddressInUseError = "OSError" }
    for _, class in ipairs { "CancelledError", "TimeoutError", "InvalidStateError", "ClosedError",
      "ProcessError", "QueueEmpty", "QueueFull", "QueueShutDown", "BrokenBarrierError",
      "DeadlockError", "IncompleteReadError", "LimitOverrunError", "ExceptionGroup", "OSError",
      "ConnectionRefusedError", "ConnectionResetError", "BrokenPipeError", "FileNotFoundError",
      "FileExistsError", "PermissionError", "AddressInUseError", "TLSError", "DNSError" } do
      local err = errors.new(class, "x")
      assert.is_true(errors.is(err, class))
      if parents[class] then assert.is_true(errors.is(err, parents[class])) end
    end
  end)

  it("is false for all other values", function()
    for _, value in ipairs { 1, "OSError: x", {}, true, io.stdout, lilac.current_task() } do
      assert.is_false(errors.is(value, "OSError"))
    end
    assert.is_false(errors.is(nil, "OSError"))
  end)

  it("refuses unknown classes, as misspelt ones would be false for ever", function()
    assert.error_matches(function() errors.is({}, "TimeOutError") end,
      "bad argument #2 to 'is' %(unknown error class 'TimeOutError'%)")
    assert.error_matches(function() errors.is({}) end, "string expected")
    assert.error_matches(function() errors.is() end, "value expected")
  end)
end)

describe("an error that lilac raises", function()
  it("has a traceback of where it was raised", function()
    local function raise_here() lilac.Lock():release() end
    local _, err = pcall(function() raise_here() end)
    assert.matches("^stack traceback:", err.traceback)
    assert.matches("errors_spec.lua:%d+: in .*raise_here", err.traceback)
  end)

  it("is the same module by require and as a field", function()
    assert.equal(errors, require "lilac.errors")
  end)

  it("arrives unchanged through awaits, gathers and groups", function()
    local err = errors.new("OSError", "x")
    local function fail() error(err) end
    local task = lilac.create_task(fail)
    for _, wait in ipairs {
      function() task:await() end,
      function() lilac.gather(fail) end,
      function() lilac.wait_for(fail, 60) end,
      function() lilac.timeout(60, fail) end,
      function() lilac.TaskGroup(function(tg) tg:create_task(fail) end) end,
      function() coroutine.wrap(fail)() end,
    } do
      local ok, raised = pcall(wait)
      assert.is_false(ok)
      assert.equal(err, raised)
    end
  end)

  it("carries a nil error as a string", function()
    local task = lilac.create_task(error)
    assert.same({ false, "<no error object>" }, { pcall(task.await, task) })
  end)
end)
