-- The programs in the texts print what the texts say. A block ```lua run is a complete program; the
-- ```text block after it is what it prints, on stdout and then on stderr, with a last line for an
-- exit status that is not 0. A line `...` stands for any lines.

local run = require "spec.support.child"

local PROGRAM = "\n```lua run\n(.-)```\n\n```text\n(.-)```\n"

-- Iterates over the programs of a text: line of the program, program, expected output.
local function programs(path)
  local file = assert(io.open(path))
  local text = file:read "a"
  file:close()
  local at = 1
  return function()
    local start, stop, program, expected = text:find(PROGRAM, at)
    if not start then return nil end
    at = stop
    return select(2, text:sub(1, start):gsub("\n", "")) + 1, program, expected
  end
end

local function as_pattern(expected)
  local pattern = expected:gsub("%p", "%%%0")
  return "^" .. ("\n" .. pattern):gsub("\n%%%.%%%.%%%.\n", "\n.*\n"):sub(2) .. "$"
end

local function count(path, mark)
  local file = assert(io.open(path))
  local _, found = ("\n" .. file:read "a"):gsub("\n" .. mark, "")
  file:close()
  return found
end

for _, path in ipairs { "README.md", "docs/guide.md" } do
  describe(path, function()
    local total = 0
    for line, program, expected in programs(path) do
      total = total + 1
      it(("has a program in line %d that prints what is said"):format(line), function()
        local child = run(program, { env = "exec timeout 60" })
        local output = child.stdout .. child.stderr
        if child.status ~= 0 then
          output = ("%s(exit status %d)\n"):format(output, child.status)
        end
        if not output:match(as_pattern(expected)) then assert.equal(expected, output) end
      end)
    end

    it("has no other code than programs with their output", function()
      assert.equal(total, count(path, "```lua"))
      assert.equal(total, count(path, "```text"))
    end)
  end)
end

describe("the tables of the texts", function()
  it("have no row twice, as careless merges make them", function()
    for path in io.popen("ls README.md docs/*.md"):lines() do
      local rows, number = {}, 0
      for line in io.lines(path) do
        number = number + 1
        local cell = line:match "^| (%S.-) |"
        if line:find "^#" then rows = {} end
        if cell then
          assert.is_nil(rows[cell], ("%s:%d: %s"):format(path, number, cell))
          rows[cell] = true
        end
      end
    end
  end)
end)

local function texts(paths)
  local pipe <close> = io.popen("cat " .. paths)
  return pipe:read "a"
end

describe("docs/reference.md", function()
  local lilac = require "lilac"
  local file = assert(io.open "docs/reference.md")
  local text = file:read "a"
  file:close()

  local function names(object)
    for name in pairs(object) do
      local known = text:find("[`:. ]" .. name .. "[({`.]")
      assert.truthy(known, "not in the reference: " .. name)
    end
  end

  it("names every function of lilac itself", function()
    local public = {}
    for name, value in pairs(lilac) do public[name] = type(value) == "function" or nil end
    names(public)
  end)

  it("names every function of the stubs, each of which is there", function()
    local stubs, found = texts "lua/meta/*.lua", 0
    for module, name in stubs:gmatch "\nfunction ([%l_]+)%.([%w_]+)%(" do
      found = found + 1
      local owner = module == "lilac" and lilac or lilac[module]
      assert.is_function(owner[name], module .. "." .. name)
    end
    assert.is_true(found > 50)
  end)

  it("names every function of every module, which is described in a stub or its source", function()
    local sources = texts "lua/meta/*.lua lua/lilac/*.lua"
    for _, module in ipairs { "dns", "errors", "fs", "net", "pipe", "process", "signal", "testing",
      "tls" } do
      names(lilac[module])
      for name, value in pairs(lilac[module]) do
        local full = module .. "." .. name
        local described = sources:find("function " .. full .. "(", 1, true)
          or sources:find("\n" .. full .. " = ", 1, true) -- that of another module
        if type(value) == "function" then assert.truthy(described, full) end
      end
    end
  end)

  it("names every method", function()
    local listener <close> = lilac.net.listen("127.0.0.1", 0)
    local stream <close> = lilac.net.connect("127.0.0.1", listener.port)
    local socket <close> = lilac.net.udp()
    local pool <close> = lilac.ThreadPool(1)
    local timer <close> = lilac.timeout(nil)
    local group <close> = lilac.TaskGroup()
    local handle = lilac.call_soon(function() end)
    names(select(2, debug.getupvalue(getmetatable(socket).__index, 1)))
    for _, object in ipairs { listener, stream, pool, timer, group, handle, lilac.Future(),
      lilac.Event(), lilac.Lock(), lilac.Semaphore(), lilac.Condition(), lilac.Barrier(1),
      lilac.Queue(), lilac.Channel(), lilac.ContextVar "x" } do
      local index = getmetatable(object).__index
      if type(index) == "table" then names(index) end
    end
  end)

  it("names every class of errors", function()
    local all = assert(text:match "Classes, children indented:\n(.-)\n\nC?#*")
    for class in all:gmatch "%a+" do assert.is_false(lilac.errors.is(nil, class)) end
  end)
end)
