-- The part of `require` that finds and runs a module: as in stock Lua, but the searchers, and the
-- module itself, may await. A module is loaded once: a second task that requires it meanwhile waits
-- for the first.

local lilac = require "lilac"

local loading = {}     -- name → { task =, ended = Future }: being loaded now
local waits_for = {}   -- task → name of the module, loaded by another task, that it waits for

local function find(name)
  local searchers = package.searchers
  if type(searchers) ~= "table" then error("'package.searchers' must be a table", 3) end
  local tried = {}
  for _, searcher in ipairs(searchers) do
    local loader, data = searcher(name)
    if type(loader) == "function" then return loader, data end
    if type(loader) == "string" then
      tried[#tried + 1] = (loader:gsub("^\n\t", ""))
    end
  end
  error(("module '%s' not found:\n\t%s"):format(name, table.concat(tried, "\n\t")), 3)
end

local function load(name)
  local loader, data = find(name)
  local result = loader(name, data)
  if result ~= nil then
    package.loaded[name] = result
  elseif package.loaded[name] == nil then
    package.loaded[name] = true
  end
  return package.loaded[name], data
end

-- The modules, from `name` on, whose loading waits for `task` in the end; nil when it does not.
local function circle(name, task)
  local path = { name }
  while true do
    local owner = loading[name] and loading[name].task
    if owner == task then return table.concat(path, "' → '") end
    name = owner and waits_for[owner]
    if not name then return nil end
    path[#path + 1] = name
  end
end

local function wait_for(name, entry, task)
  local path = circle(name, task)
  if path then
    error(("module '%s' is required in a circle: '%s' → '%s'"):format(name, path, name), 3)
  end
  waits_for[task] = name
  local _ <close> = setmetatable({}, { __close = function() waits_for[task] = nil end })
  lilac.shield(entry.ended)
end

return function(name)
  local task = lilac.current_task() or "callback"
  while loading[name] do
    wait_for(name, loading[name], task)
    if package.loaded[name] then return package.loaded[name] end
  end
  local entry = { task = task, ended = lilac.Future() }
  loading[name] = entry
  local _ <close> = setmetatable({}, { __close = function()
    loading[name] = nil
    entry.ended:set_result()
  end })
  return load(name)
end
