-- Includes go downwards only (DESIGN §2), and there is no cycle of headers.

package.path = "tools/?.lua;" .. package.path
local source = require "source"

-- The floors, from the ground up. A file may include its own floor and what is below.
local GROUND, NOUNS, CORE, MODULES, TOP = 1, 2, 3, 4, 5
local floor_of_core = {
  list = GROUND, buffer = GROUND, scratch = GROUND, place = GROUND, error = NOUNS, args = NOUNS,
}
local names = { "ground", "nouns", "core", "modules", "top" }

-- What any module sees of core/, and the modules that may look inside the scheduler.
local function set(words)
  local members = {}
  for word in words:gmatch("%S+") do members[word] = true end
  return members
end

local nouns = set "args buffer scratch room crew guess late list waitq work error object"
local insiders = set [[base task callback coroutine debug gather group timeout context inspect
                       watchdog interrupt report trace sync lock queue testing signal thread far
                       channel standard standard_poll terminal connections]]

local function stem(path) return (path:match("([^/]+)%.[ch]$")) end

local function floor_of(path)
  if path:find("^src/core/") then return floor_of_core[stem(path)] or CORE end
  if path == "src/lilac.h" then return GROUND end -- types and contracts, and no header of ours
  -- builtin.h only declares what the modules define for builtin.c.
  if path:find("^src/modules/") and path ~= "src/modules/builtin.c" then return MODULES end
  return TOP
end

-- The file that `#include "name"` means in a file: beside it, or under src/.
local function resolve(path, name)
  local beside = path:match("^(.*)/") .. "/" .. name
  local found = source.exists(beside) and beside or "src/" .. name
  repeat
    local shorter, count = found:gsub("[^/.]+/%.%./", "", 1)
    found = shorter
  until count == 0
  return found
end

local function check(path, line, target)
  local mine, its = floor_of(path), floor_of(target)
  if path == "src/lilac.h" then
    source.complain(path, line, "lilac.h is installed alone: it includes none of our headers")
  elseif not source.exists(target) then
    source.complain(path, line, "no such header, beside it or under src: %s", target)
  elseif its > mine then
    source.complain(path, line, "include goes up, from %s to %s: %s", names[mine], names[its],
                    target)
  elseif mine == MODULES and target:find("^src/core/") and not nouns[stem(target)]
         and not insiders[stem(path)] then
    source.complain(path, line, "this module sees lilac.h and the nouns of core, not %s", target)
  end
end

local includes = {} -- path → { {line, target}, … }
for _, path in ipairs(source.files("src", { ".c", ".h" })) do
  local mine = {}
  for line, text in source.lines(source.read(path)) do
    local name = text:match('^%s*#%s*include%s+"([^"]+)"')
    if name then
      local target = resolve(path, name)
      check(path, line, target)
      mine[#mine + 1] = { line = line, target = target }
    end
  end
  includes[path] = mine
end

-- Depth first: a header met again while it is being visited closes a cycle.
local visited = {}
local function visit(path, trail)
  visited[path] = "open"
  for _, include in ipairs(includes[path] or {}) do
    if visited[include.target] == "open" then
      source.complain(path, include.line, "cycle of headers: %s -> %s", trail, include.target)
    elseif not visited[include.target] then
      visit(include.target, trail .. " -> " .. include.target)
    end
  end
  visited[path] = "done"
end
for _, path in ipairs(source.files("src", { ".h" })) do
  if not visited[path] then visit(path, path) end
end

source.finish()
