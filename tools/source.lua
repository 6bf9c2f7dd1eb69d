-- What the lint scripts share: finding files, reading them, telling what is wrong with them.

local source = {}

local complaints = 0

local function ends_as_one_of(path, suffixes)
  for _, suffix in ipairs(suffixes) do
    if path:sub(-#suffix) == suffix then return true end
  end
  return false
end

-- The files under those of the directories that exist, sorted; only those with one of the suffixes
-- when there are any.
function source.files(directories, suffixes)
  local pipe = assert(io.popen("find " .. directories .. " -type f 2>/dev/null | LC_ALL=C sort"))
  local found = {}
  for path in pipe:lines() do
    if not suffixes or ends_as_one_of(path, suffixes) then found[#found + 1] = path end
  end
  pipe:close()
  return found
end

function source.exists(path)
  local file = io.open(path)
  return file ~= nil and file:close()
end

function source.read(path)
  local file = assert(io.open(path, "rb"))
  return file:read("a"), file:close()
end

-- Iterates over the lines of a text: number, line.
function source.lines(text)
  if text ~= "" and text:sub(-1) ~= "\n" then text = text .. "\n" end
  local number, next_line = 0, text:gmatch("([^\n]*)\n")
  return function()
    local line = next_line()
    number = number + 1
    if line then return number, line end
  end
end

-- Where the comment, literal or preprocessor line that starts at `start` ends; nil if none does.
local function skip_end(text, start)
  local first, pair = text:sub(start, start), text:sub(start, start + 1)
  if pair == "/*" then return select(2, text:find("*/", start + 2, true)) or #text end
  if pair == "//" then return (text:find("\n", start, true) or #text + 1) - 1 end
  if first == "#" then return (text:find("[^\\]\n", start)) or #text end
  if first == "/" then return nil end
  local at = start + 1
  while at < #text and text:sub(at, at) ~= first do
    at = at + (text:sub(at, at) == "\\" and 2 or 1)
  end
  return at
end

-- The C text with comments, literals and preprocessor lines blanked: every line keeps its place.
function source.code(text)
  local out, at = {}, 1
  while true do
    local start = text:find("[/\"'#]", at)
    if not start then return table.concat(out) .. text:sub(at) end
    local stop = skip_end(text, start)
    out[#out + 1] = text:sub(at, start - 1)
    out[#out + 1] = stop and text:sub(start, stop):gsub("[^\n]", " ") or "/"
    at = (stop or start) + 1
  end
end

function source.complain(path, line, ...)
  complaints = complaints + 1
  io.stderr:write(("%s:%d: %s\n"):format(path, line, string.format(...)))
end

-- Ends the script: with status 1 when there was anything to complain about.
function source.finish()
  os.exit(complaints == 0, true)
end

return source
