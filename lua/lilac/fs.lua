--- Files and folders, without blocking. The parts are in C (see lua/meta/fs.lua); here they come
--- together, and trees of folders are walked and watched.

local lilac = require "lilac"
local watch = require "lilac.watch"

local PARTS = { "content", "file", "paths", "scandir" }

local fs = {}

for _, part in ipairs(PARTS) do
  for name, fn in pairs(require("lilac." .. part)) do fs[name] = fn end
end

--- Raises an argument error at the caller of our caller.
local function refuse(argument, name, what, ...)
  error(("bad argument #%d to '%s' (%s)"):format(argument, name, what:format(...)), 4)
end

local function check_path(name, path)
  if type(path) ~= "string" then refuse(1, name, "path expected, got %s", type(path)) end
  if path:find("\0", 1, true) then refuse(1, name, "path contains a zero byte") end
end

--- Checks the names and types of options: `known` is an array of { name, type }.
local function check_options(name, options, known)
  if options == nil then return {} end
  if type(options) ~= "table" then
    refuse(2, name, "table of options expected, got %s", type(options))
  end
  local types, names = {}, {}
  for i, option in ipairs(known) do types[option[1]], names[i] = option[2], option[1] end
  for option, value in pairs(options) do
    if not types[option] then
      refuse(2, name, "unknown option '%s'; known: %s", tostring(option),
        table.concat(names, ", "))
    elseif type(value) ~= types[option] then
      refuse(2, name, "option '%s': %s expected, got %s", option, types[option], type(value))
    end
  end
  return options
end

local function join(folder, name)
  return folder:sub(-1) == "/" and folder .. name or folder .. "/" .. name
end

--- Whether it is gone, or another thing is in its place by now.
local function has_vanished(err)
  return lilac.errors.is(err, "FileNotFoundError") or lilac.errors.is(err, "NotADirectoryError")
end

-- ---- walk ---------------------------------------------------------------------------------------

local function id_of(stat) return stat.dev .. ":" .. stat.ino end

--- Whether an entry is a folder to go into. `around`, where links are followed: the ids of the
--- folders it is in; a link to one of them leads round in a circle.
local function is_folder(path, kind, around)
  if kind ~= "link" or not around then return kind == "directory" end
  local ok, stat = pcall(fs.stat, path)
  return ok and stat.type == "directory" and not around[id_of(stat)]
end

--- The names of the folders and of all others in a folder, and what is `around` them.
local function list(folder, around)
  local folders, others = {}, {}
  if around then
    around = setmetatable({ [id_of(fs.stat(folder))] = true }, { __index = around })
  end
  for name, kind in fs.scandir(folder) do
    local names = is_folder(join(folder, name), kind, around) and folders or others
    names[#names + 1] = name
  end
  return folders, others, around
end

---@class lilac.WalkOptions
---@field followlinks? boolean go through links to folders; default false
---@field onerror? fun(err: any) called with what would be raised

--- Iterates over a folder and all the folders in it, each before those inside: for each, its path,
--- the names of the folders in it, and the names of all others. Names that the loop takes out of
--- the first list are not gone into. One that vanishes meanwhile is left out.
---
--- Differs from Python's `os.walk`: other errors raise, unless there is an `onerror`; links to
--- folders are among the others, unless they are followed. Those that lead back to a folder above
--- them never are.
---
--- Raises: FileNotFoundError, NotADirectoryError, PermissionError and other OSErrors.
---@async
---@param path string
---@param options? lilac.WalkOptions
---@return async fun(): string?, string[], string[]
function fs.walk(path, options)
  check_path("walk", path)
  options = check_options("walk", options,
    { { "followlinks", "boolean" }, { "onerror", "function" } })
  local ahead = { { path = path, around = options.followlinks and {} } } -- a stack
  local last, inside, within -- the loop has the first two, and may change the second
  return function()
    for i = #(inside or {}), 1, -1 do
      ahead[#ahead + 1] = { path = join(last, inside[i]), around = within }
    end
    inside = nil
    while #ahead > 0 do
      local folder = ahead[#ahead].path
      local ok, folders, others, around = pcall(list, folder, ahead[#ahead].around)
      ahead[#ahead] = nil -- only now: a cancelled one is listed again
      if ok then
        last, inside, within = folder, folders, around
        return folder, folders, others
      elseif options.onerror then
        options.onerror(folders)
      elseif folder == path or not has_vanished(folders) then
        error(folders, 0)
      end
    end
  end
end

-- ---- watch --------------------------------------------------------------------------------------

--- A Watcher of a folder and all the folders in it. libuv tells of one folder at a time.
local Tree = { __name = "Watcher" }
Tree.__index = Tree

local function check_self(self, name)
  if getmetatable(self) ~= Tree then
    error(("bad argument #1 to '%s' (Watcher expected, got %s)"):format(name, type(self)), 3)
  end
end

--- Watches a folder, before it looks for folders in it: so none is missed. What it finds there may
--- be older than the watch, and is told when `tell` is set.
local function add(tree, path, prefix, tell)
  if prefix ~= "" then tree._watcher:add(path, prefix) end
  local inside = {}
  for name, kind in fs.scandir(path) do
    if kind == "directory" then inside[#inside + 1] = name end
    if tell then tree._events[#tree._events + 1] = { "rename", prefix .. name } end
  end
  for _, name in ipairs(inside) do
    local ok, err = pcall(add, tree, join(path, name), prefix .. name .. "/", tell)
    if not ok and not has_vanished(err) then error(err, 0) end
  end
end

--- Something has appeared under a name, or disappeared.
local function follow(tree, name)
  local path = join(tree._path, name)
  local ok, stat = pcall(fs.lstat, path)
  if ok and stat.type == "directory" then
    local err
    ok, err = pcall(add, tree, path, name .. "/", true)
    if not ok and not has_vanished(err) then error(err, 0) end
  else
    tree._watcher:drop(name .. "/")
  end
end

function Tree:__call()
  check_self(self, "call")
  local events = self._events
  if not events[1] then
    local event, name = self._watcher()
    if not event then return nil end
    events[1] = { event, name, is_new = true }
  end
  local first = events[1]
  if first.is_new and first[1] == "rename" then follow(self, first[2]) end
  if first.is_new and first[1] == "overflow" then add(self, self._path, "", false) end
  table.remove(events, 1) -- only now: nothing is lost when that is cancelled
  return first[1], first[2]
end

function Tree:close()
  check_self(self, "close")
  self._watcher:close()
end

Tree.__close = Tree.close

function Tree:__tostring()
  check_self(self, "tostring")
  return ("Watcher (%s, recursive)"):format(self._path)
end

---@class lilac.WatchOptions
---@field recursive? boolean the folders in it too, and those to come: names are paths then

--- Watches a file, or what is in a folder: `for event, name in fs.watch(path) do`. The loop closes
--- it; `local watcher <close> = fs.watch(path)` is another way.
---
--- "rename": something of that name has appeared or disappeared; "change": it has been written, or
--- its permissions or times have changed. At most 1024 events wait, each once; "overflow" comes
--- after them when there were more: then look at all of it. An event says that something happened,
--- and not what is there by now; it may come twice.
---
--- A file that is replaced by another (as write_file does it) is not watched any more: watch its
--- folder.
---
--- Raises: FileNotFoundError and other OSErrors; code ENOSPC means that the system does not let a
--- user watch more.
---@async
---@param path string
---@param options? lilac.WatchOptions
---@return lilac.Watcher
function fs.watch(path, options)
  check_path("watch", path)
  options = check_options("watch", options, { { "recursive", "boolean" } })
  local watcher = watch.watch(path)
  if not options.recursive then return watcher, nil, nil, watcher end
  local tree = setmetatable({ _watcher = watcher, _path = path, _events = {} }, Tree)
  local ok, err = pcall(add, tree, path, "", false)
  if not ok then
    watcher:close()
    error(err, 0)
  end
  return tree, nil, nil, tree
end

return fs
