-- Names that are not to be found: of files that hold anything at all, of functions that overrun
-- buffers, of places on one machine.

package.path = "tools/?.lua;" .. package.path
local source = require "source"

local function set(words)
  local members = {}
  for word in words:gmatch("%S+") do members[word] = true end
  return members
end

local vague = set "util utils common helper helpers misc types"
local unsafe = set "strcpy strcat sprintf vsprintf gets atoi atol atof alloca strtok"
local machine = { "/home/", "/root/", "/work/", "/Users/" }

local function check_name(path)
  local stem = path:match("([^/.]+)[^/]*$")
  if stem and vague[stem] then source.complain(path, 1, "name says nothing: %s", stem) end
end

local function check_places(path)
  for line, text in source.lines(source.read(path)) do
    for _, place in ipairs(machine) do
      if (" " .. text):find("[%s\"'=:(]" .. place) then
        source.complain(path, line, "place on one machine: %s", place)
      end
    end
  end
end

local function check_calls(path)
  for line, text in source.lines(source.code(source.read(path))) do
    for name in text:gmatch("([%a_][%w_]*)%s*%(") do
      if unsafe[name] then source.complain(path, line, "%s is not used here", name) end
    end
  end
end

for _, path in ipairs(source.files("src lua spec bench examples tools docs .ci")) do
  check_name(path)
  if path ~= "tools/names.lua" then check_places(path) end
end
for _, path in ipairs(source.files("src tools bench examples", { ".c", ".h" })) do
  check_calls(path)
end

source.finish()
