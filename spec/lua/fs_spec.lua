local lilac = require "lilac"
local folder = require "spec.support.folder"
local raises = require "spec.support.raises"
local settle = require "spec.support.settle"

local fs = lilac.fs

local function refused(pattern, fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok)
  assert.matches(pattern, err)
  assert.not_matches("lilac.fs]", err, 1, true)
end

describe("lilac.fs", function()
  it("holds the functions of its parts", function()
    for _, part in ipairs { "content", "file", "paths", "scandir" } do
      for name, fn in pairs(require("lilac." .. part)) do assert.equal(fn, fs[name], name) end
    end
  end)
end)

describe("fs.walk", function()
  local function tree()
    local dir = folder()
    os.execute(("cd %s; mkdir -p a/b c/d; touch 1 a/2 a/b/3 c/d/4; ln -s ../a c/link")
      :format(dir.path))
    return dir
  end

  --- What a walk finds: folder → "folders: others", sorted.
  local function collect(dir, options)
    local found = {}
    for path, folders, others in fs.walk(dir.path, options) do
      table.sort(folders)
      table.sort(others)
      local name = path:sub(#dir.path + 2)
      found[name] = table.concat(folders, " ") .. ": " .. table.concat(others, " ")
    end
    return found
  end

  it("iterates over a folder and all the folders in it", function()
    local dir <close> = tree()
    assert.same({ [""] = "a c: 1", a = "b: 2", ["a/b"] = ": 3", c = "d: link", ["c/d"] = ": 4" },
      collect(dir))
  end)

  it("gives a folder before those in it, and leaves out what the loop takes away", function()
    local dir <close> = tree()
    local order = {}
    for path, folders in fs.walk(dir.path) do
      table.sort(folders)
      if folders[1] == "a" then table.remove(folders, 1) end
      order[#order + 1] = path:sub(#dir.path + 2)
    end
    assert.same({ "", "c", "c/d" }, order)
  end)

  it("goes through links when asked", function()
    local dir <close> = tree()
    local found = collect(dir, { followlinks = true })
    assert.equal("d link: ", found.c)
    assert.equal(": 3", found["c/link/b"])
  end)

  it("goes into no link to a folder it is in", function()
    local dir <close> = tree()
    os.execute(("cd %s; ln -s .. a/b/up; ln -s self c/self; ln -s ../.. c/d/top; ln -s ../c a/c")
      :format(dir.path))
    local found, count = collect(dir, { followlinks = true }), 0
    for _ in pairs(found) do count = count + 1 end
    assert.equal(": 3 up", found["a/b"])
    assert.equal("d: link self", found["a/c"]) -- its link leads to a
    assert.equal("d link: self", found.c)
    assert.equal("b: 2 c", found["c/link"]) -- its link leads to c
    assert.is_true(count < 12, count)
  end)

  it("raises errors or hands them over, but for what vanishes meanwhile", function()
    raises("FileNotFoundError", fs.walk "/x/y")
    local seen = {}
    for _ in fs.walk("/x/y", { onerror = function(err) seen[#seen + 1] = err.code end }) do
      error "nothing is there"
    end
    assert.same({ "ENOENT" }, seen)
    local dir <close> = tree()
    local count = 0
    for path in fs.walk(dir.path) do
      if path == dir.path then fs.rmtree(dir / "c") end
      count = count + 1
    end
    assert.equal(3, count)
  end)

  it("goes on where it was when a task is cancelled in it", function()
    local dir <close> = tree()
    local walk = fs.walk(dir.path)
    local count = 0
    local function take() for _ in walk do count = count + 1 end end
    repeat
      local task = settle.start(take)
      task:cancel()
      lilac.wait { task }
    until not task:cancelled()
    assert.equal(5, count)
  end)

  it("checks its arguments", function()
    refused("bad argument #1 to 'walk' %(path expected, got nil%)", fs.walk)
    refused("path contains a zero byte", fs.walk, "a\0")
    refused("table of options expected, got string", fs.walk, "/", "x")
    refused("unknown option 'topdown'; known: followlinks, onerror", fs.walk, "/",
      { topdown = true })
    refused("option 'onerror': function expected, got boolean", fs.walk, "/", { onerror = true })
  end)
end)

describe("fs.watch", function()
  --- Takes events until one is of that name; returns the names of all.
  local function until_name(watcher, name)
    local found = {}
    lilac.timeout(10, function()
      repeat
        local _, seen = watcher()
        found[seen or ""] = true
      until seen == name
    end)
    return found
  end

  it("is an iterator that the loop closes", function()
    local dir <close> = folder()
    local task = settle.start(function()
      for event, name in fs.watch(dir.path) do return event, name end -- luacheck: ignore 512
    end)
    dir:write("file", "")
    assert.same({ "rename", "file" }, { task:await() })
    local watcher <close> = fs.watch(dir.path)
    dir:write("file", "text")
    assert.same({ "change", "file" }, { watcher() })
  end)

  it("sees what write_file puts in the place of a file", function()
    local dir <close> = folder()
    fs.write_file(dir / "file", "old")
    local watcher <close> = fs.watch(dir.path)
    fs.write_file(dir / "file", "new")
    assert.is_true(until_name(watcher, "file").file)
  end)

  it("watches the folders in a folder when asked, and those to come", function()
    local dir <close> = folder()
    os.execute(("mkdir -p %s/a/b"):format(dir.path))
    local watcher <close> = fs.watch(dir.path, { recursive = true })
    assert.matches("^Watcher %(/.*, recursive%)", tostring(watcher))
    dir:write("a/b/1", "")
    until_name(watcher, "a/b/1")
    os.execute(("mkdir -p %s/c/d/e; touch %s/c/d/e/2"):format(dir.path, dir.path))
    local found = until_name(watcher, "c/d/e/2")
    assert.is_true(found.c and found["c/d"] and found["c/d/e"])
    dir:write("c/d/3", "")
    until_name(watcher, "c/d/3")
  end)

  it("follows folders that go and come back, or get another name", function()
    local dir <close> = folder()
    local watcher <close> = fs.watch(dir.path, { recursive = true })
    for i = 1, 3 do
      os.execute(("mkdir -p %s/a/b; touch %s/a/b/%d"):format(dir.path, dir.path, i))
      until_name(watcher, "a/b/" .. i)
      os.execute(("rm -r %s/a"):format(dir.path))
      until_name(watcher, "a")
    end
    os.execute(("mkdir -p %s/from/in"):format(dir.path))
    until_name(watcher, "from/in")
    os.execute(("mv %s/from %s/to; touch %s/to/in/4"):format(dir.path, dir.path, dir.path))
    local found = until_name(watcher, "to/in/4")
    assert.is_true(found.from and found.to)
    assert.is_nil(found["from/in/4"])
  end)

  it("looks at all of it again after an overflow", function()
    local dir <close> = folder "/dev/shm"
    local watcher <close> = fs.watch(dir.path, { recursive = true })
    os.execute(("cd %s && seq 3000 | xargs touch && mkdir late"):format(dir.path))
    lilac.sleep(0.05)
    repeat until watcher() == "overflow"
    dir:write("late/file", "")
    until_name(watcher, "late/file")
  end)

  it("ends when another task closes it, and can be cancelled", function()
    local dir <close> = folder()
    local watcher = fs.watch(dir.path, { recursive = true })
    local task = settle.start(watcher)
    task:cancel()
    settle()
    assert.is_true(task:cancelled())
    task = settle.start(function()
      for _ in watcher do end -- luacheck: ignore
      return "the end"
    end)
    raises("InvalidStateError", watcher)
    watcher:close()
    assert.equal("the end", task:await())
    assert.is_nil(watcher())
    watcher:close()
  end)

  it("checks its arguments", function()
    raises("FileNotFoundError", fs.watch, "/x/y")
    raises("FileNotFoundError", fs.watch, "/x/y", { recursive = true })
    raises("NotADirectoryError", fs.watch, "/dev/null", { recursive = true })
    refused("path expected, got table", fs.watch, {})
    refused("unknown option 'depth'; known: recursive", fs.watch, "/", { depth = 1 })
    refused("option 'recursive': boolean expected, got number", fs.watch, "/", { recursive = 1 })
    local dir <close> = folder()
    local watcher <close> = fs.watch(dir.path, { recursive = true })
    refused("Watcher expected, got table", watcher.close, {})
  end)
end)
