-- folder([where]) → an empty folder of the spec's own, which goes with its scope:
--
--    local dir <close> = folder()           -- folder "/dev/shm": in memory, for many files
--    dir / "name"             -- a path in it
--    dir:write("name", text)  -- → that path, of a file that stock Lua has written
--    dir:read "name"          -- → its text, or nil where there is no such file
--    dir:names()              -- → what is in it, sorted: "a b"
--
-- Stock Lua and the shell do it all: the specs are about what does it without blocking.

local Folder = { __name = "folder" }
Folder.__index = Folder

local function command(...)
  local pipe <close> = assert(io.popen((...):format(select(2, ...))))
  return pipe:read "a"
end

function Folder.__div(folder, name) return folder.path .. "/" .. name end

function Folder:write(name, text)
  local file <close> = assert(io.open(self / name, "wb"))
  assert(file:write(text))
  return self / name
end

function Folder:read(name)
  local file <close> = io.open(self / name, "rb")
  return file and file:read "a"
end

function Folder:names()
  return (command("ls -A %s | sort | tr '\\n' ' '", self.path):gsub(" $", ""))
end

function Folder:__close() command("chmod -R u+rwX %s; rm -rf %s", self.path, self.path) end

function Folder:__tostring() return self.path end

return function(where)
  local made = command("mktemp -d %s", where and "-p " .. where or "")
  return setmetatable({ path = made:match "[^\n]+" }, Folder)
end
