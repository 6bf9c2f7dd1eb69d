-- Reads a large file in chunks of 64 KiB or line by line, or small files whole, 16 at a time.
local lilac = require "lilac"
local fs = lilac.fs

local kind, count, path = arg[1], tonumber(arg[2]), arg[3]

local function read_large(format)
  local size = 0
  local file <close> = fs.open(path)
  for piece in file:lines(format) do size = size + #piece end
end

local function read_small()
  local left, tasks = count, {}
  for i = 1, 16 do
    tasks[i] = lilac.create_task(function()
      while left > 0 do
        left = left - 1
        fs.read_file(("%s/%d"):format(path, left % 1000 + 1))
      end
    end)
  end
  lilac.gather(tasks)
end

local wall, cpu = lilac.time(), os.clock()
if kind == "small" then read_small() else read_large(kind == "lines" and "l" or 65536) end
wall, cpu = lilac.time() - wall, os.clock() - cpu
local pieces, unit = count, 1e6
if kind == "lines" then pieces, unit = count * 16384, 1e9 end
print("wall", wall / pieces * unit)
print("cpu", cpu / pieces * unit)
