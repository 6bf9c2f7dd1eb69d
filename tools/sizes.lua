-- A function fits a screen, a file a sitting, a line a window (DESIGN §3).

package.path = "tools/?.lua;" .. package.path
local source = require "source"

local FUNCTION_LINES, FILE_LINES, PARAMETERS, COLUMNS = 65, 600, 5, 100

local function check_file(path, text, whole_file)
  local count = 0
  for line, content in source.lines(text) do
    count = line
    local width = utf8.len(content) or #content
    if width > COLUMNS then
      source.complain(path, line, "%d columns, at most %d", width, COLUMNS)
    end
  end
  if whole_file and count > FILE_LINES then
    source.complain(path, count, "file of %d lines, at most %d", count, FILE_LINES)
  end
end

local function check_function(path, line, name, lines, parameters)
  if lines > FUNCTION_LINES then
    source.complain(path, line, "%s: %d lines, at most %d", name, lines, FUNCTION_LINES)
  end
  -- The parameters of a callback are the library's choice.
  if parameters > PARAMETERS and not name:find "^on_" then
    source.complain(path, line, "%s: %d parameters, at most %d", name, parameters, PARAMETERS)
  end
end

local function line_of(text, at)
  return select(2, text:sub(1, at):gsub("\n", "")) + 1
end

-- The number of parameters in "(lua_State *L, int (*fn)(int, int))".
local function parameter_count(list)
  local inner = list:sub(2, -2):gsub("%b()", "")
  if not inner:find("%S") or inner:find("^%s*void%s*$") then return 0 end
  return select(2, inner:gsub(",", "")) + 1
end

-- A definition is a pair of braces at the outer level that follows `name(…)`.
local function check_c(path, text)
  local code, at = source.code(text), 1
  while true do
    local open, close = code:find("%b{}", at)
    if not open then return end
    local name, list = code:sub(at, open - 1):match("([%a_][%w_]*)%s*(%b())%s*$")
    if name then
      local start = open - code:sub(at, open - 1):reverse():find(name:reverse(), 1, true)
      local first, last = line_of(code, start), line_of(code, close)
      check_function(path, first, name, last - first + 1, parameter_count(list))
    end
    at = close + 1
  end
end

-- luac lists every function of a chunk with its lines and parameters; it ships with lua5.4.
local function check_lua(path)
  local pipe = assert(io.popen("luac5.4 -p -l " .. path .. " 2>&1"))
  local first, last
  for line in pipe:lines() do
    local from, to = line:match("^function <.*:(%d+),(%d+)>")
    if from then first, last = tonumber(from), tonumber(to) end
    local parameters = line:match("^(%d+)%+? params?,")
    if first and parameters then
      check_function(path, first, "function", last - first + 1, tonumber(parameters))
      first = nil
    end
  end
  pipe:close()
end

for _, path in ipairs(source.files("src tools bench examples", { ".c", ".h" })) do
  local text = source.read(path)
  check_file(path, text, path:find("^src/"))
  check_c(path, text)
end
for _, path in ipairs(source.files("lua spec tools bench examples", { ".lua" })) do
  check_file(path, source.read(path), path:find("^lua/lilac/"))
  if path:find("^lua/lilac/") then check_lua(path) end
end

source.finish()
