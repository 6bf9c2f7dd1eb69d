-- Follows what is written to a file, like `tail -f`, also when the file is replaced or cut:
--
--    lilac examples/tail.lua FILE [LINES]        how many lines of what is there; default 10

local lilac = require "lilac"
local fs = lilac.fs

local path = arg[1] or error("usage: tail.lua FILE [LINES]", 0)
local count = math.tointeger(tonumber(arg[2] or 10)) or error("a number of lines expected", 0)
local folder, name = path:match "^(.*/)([^/]+)$"
if not folder then folder, name = "./", path end

-- Prints the last lines of a file that is being read.
local function print_last(file)
  local last, number = {}, 0
  for line in file:lines() do
    number = number + 1
    last[number % count] = line
  end
  for i = math.max(1, number - count + 1), number do print(last[i % count]) end
end

-- Prints what has been added.
local function print_new(file)
  if file:stat().size < file:seek() then file:seek "set" end -- it was cut
  local rest = file:read "a"
  io.write(rest)
  io.stdout:flush()
end

-- Whether the path leads to another file by now.
local function is_replaced(file)
  local ok, stat = pcall(fs.stat, path)
  return ok and stat.ino ~= file:stat().ino
end

-- The folder is watched before the file is read, so nothing falls between the two.
local watcher <close> = fs.watch(folder)
local file = fs.open(path)
if count > 0 then print_last(file) else file:seek "end" end
for _, changed in watcher do
  if changed == name or not changed then -- nil: too much has happened to tell
    local replaced = is_replaced(file) -- asked first: what came before that is still to be read
    print_new(file)
    if replaced then
      file:close()
      file = fs.open(path)
      print_new(file)
    end
  end
end
