local cqueues = require "cqueues"

local BATCH <const> = 1000
local count = tonumber(arg[1])
local loop = cqueues.new()

local start = os.clock()
for _ = 1, count // BATCH do
  local results = {}
  local function work(i) results[i] = i end
  for i = 1, BATCH do
    loop:wrap(work, i)
  end
  assert(loop:loop())
  assert(results[BATCH] == BATCH)
end
print("ns", (os.clock() - start) / count * 1e9)
