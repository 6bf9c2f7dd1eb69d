-- The same with stock Lua, which blocks. It has no clock of the wall: its CPU counts for both.
local kind, count, path = arg[1], tonumber(arg[2]), arg[3]

local function read_large(format)
  local size = 0
  local file <close> = io.open(path)
  for piece in file:lines(format) do size = size + #piece end
end

local function read_small()
  for i = count - 1, 0, -1 do
    local file <close> = io.open(("%s/%d"):format(path, i % 1000 + 1))
    file:read "a"
  end
end

local cpu = os.clock()
if kind == "small" then read_small() else read_large(kind == "lines" and "l" or 65536) end
cpu = os.clock() - cpu
local pieces, unit = count, 1e6
if kind == "lines" then pieces, unit = count * 16384, 1e9 end
print("wall", cpu / pieces * unit)
print("cpu", cpu / pieces * unit)
