local lilac = require "lilac"
local pipe = require "lilac.pipe"
local raises = require "spec.support.raises"
local settle = require "spec.support.settle"

describe("pipe.pair", function()
  it("gives two streams: what is written to the second is read from the first", function()
    local reader, writer <close> = pipe.pair()
    local _ <close> = reader
    writer:write("one\n", 2, "\n")
    assert.equal("one", reader:read())
    assert.equal("2", reader:read())
  end)

  it("waits for a slow reader, and passes all of it on", function()
    local reader, writer <close> = pipe.pair()
    local _ <close> = reader
    local text = ("0123456789abcdef"):rep(1 << 18)
    local task = settle.start(writer.write, writer, text)
    assert.is_false(task:done())
    assert.is_true(text == reader:read_exactly(#text))
    task:await()
  end)

  it("ends with the writer's shutdown or close, after what was written", function()
    for _, how in ipairs { "shutdown", "close" } do
      local reader, writer <close> = pipe.pair()
      local _ <close> = reader
      local text = ("x"):rep(1 << 20)
      local task = settle.start(writer.write, writer, text)
      local ending = lilac.create_task(writer[how], writer)
      assert.equal(#text, #reader:read "a")
      lilac.wait { task, ending }
      assert.equal(how == "shutdown", pcall(task.await, task))
    end
  end)

  it("ends with the writer's shutdown, after which nothing can be written", function()
    local reader, writer <close> = pipe.pair()
    local _ <close> = reader
    writer:write "last"
    writer:shutdown()
    assert.equal("last", reader:read "a")
    writer:shutdown()
    raises("InvalidStateError", writer.write, writer, "more")
  end)

  it("raises a broken pipe when the reader has closed", function()
    local reader, writer <close> = pipe.pair()
    reader:close()
    local err = raises("BrokenPipeError", writer.write, writer, "x")
    assert.equal("write pipe (writing): broken pipe (EPIPE)", err.message)
  end)

  it("raises a broken pipe to the writer that waits when the reader closes", function()
    local reader, writer <close> = pipe.pair()
    local task = settle.start(writer.write, writer, ("x"):rep(1 << 20))
    reader:close()
    raises("BrokenPipeError", task.await, task)
  end)

  it("goes in one direction", function()
    local reader, writer <close> = pipe.pair()
    local _ <close> = reader
    local err = raises("OSError", writer.read, writer)
    assert.equal("read pipe (writing): bad file descriptor (EBADF)", err.message)
    err = raises("OSError", reader.write, reader, "x")
    assert.equal("write pipe (reading): bad file descriptor (EBADF)", err.message)
    err = raises("OSError", reader.shutdown, reader)
    assert.equal("shutdown pipe (reading): bad file descriptor (EBADF)", err.message)
  end)

  it("has ends without names", function()
    local reader, writer <close> = pipe.pair()
    local _ <close> = reader
    assert.same({ "", "" }, { reader:peername(), writer:sockname() })
    assert.matches("^Stream %(pipe %(reading%)%): 0x", tostring(reader))
  end)

  it("takes a limit for lines", function()
    local reader, writer <close> = pipe.pair { limit = 3 }
    local _ <close> = reader
    writer:write "abcdef\n"
    raises("LimitOverrunError", reader.read, reader)
  end)

  it("checks its argument", function()
    assert.error_matches(function() pipe.pair(1) end, "table expected, got number")
    assert.error_matches(function() pipe.pair { limit = 0 } end, "option 'limit' must be 1 to")
    assert.error_matches(function() pipe.pair { size = 1 } end,
      "unknown option 'size'; known: limit")
  end)
end)
