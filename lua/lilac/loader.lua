-- Who loads which module: what `require` asks before it looks for one. A module is loaded once: a
-- second task that requires it meanwhile waits for the first.

local lilac = require "lilac"

local loading = {}   -- name → { task =, number =, ended = Future }: being loaded now
local waits_for = {} -- task → name of the module, loaded by another task, that it waits for
local count = 0      -- of modules that were begun

-- Appends `name` and the modules that its task has begun to load since.
local function append_chain(path, name)
  local first, names = loading[name], {}
  for other, entry in pairs(loading) do
    if entry.task == first.task and entry.number >= first.number then names[#names + 1] = other end
  end
  table.sort(names, function(a, b) return loading[a].number < loading[b].number end)
  table.move(names, 1, #names, #path + 1, path)
end

-- The modules, from `name` on, whose loading waits for `task` in the end; nil when it does not.
local function circle(name, task)
  local path, first = {}, name
  repeat
    append_chain(path, name)
    local owner = loading[name].task
    if owner == task then return ("'%s' → '%s'"):format(table.concat(path, "' → '"), first) end
    name = waits_for[owner]
  until not (name and loading[name])
  return nil
end

local function wait_for(name, task)
  waits_for[task] = name
  local _ <close> = setmetatable({}, { __close = function() waits_for[task] = nil end })
  lilac.shield(loading[name].ended)
end

local guard = { __close = function(entry)
  loading[entry.name] = nil
  entry.ended:set_result()
end }

-- Returns nil when the module was loaded by another task meanwhile; else the caller is to load
-- it, and what is returned must be closed when that has ended.
return function(name, loaded)
  local task = lilac.current_task() or "callback"
  while loading[name] do
    local path = circle(name, task)
    if path then error(("module '%s' is required in a circle: %s"):format(name, path), 3) end
    wait_for(name, task)
    if loaded[name] then return nil end
  end
  count = count + 1
  local entry = { name = name, task = task, number = count, ended = lilac.Future() }
  loading[name] = entry
  return setmetatable(entry, guard)
end
