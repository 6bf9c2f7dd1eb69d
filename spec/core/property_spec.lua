-- Random programs against invariants; see spec/support/property.lua. A failure names the seed of
-- the program: LILAC_SEED=n runs that one. LILAC_STRESS=1 (make stress) runs more of them.
local LILAC = os.getenv "LILAC" or "build/lilac"
local STRESS = os.getenv "LILAC_STRESS" == "1"
local SCRIPT = "spec/support/property.lua"

local seed = tonumber(os.getenv "LILAC_SEED") or os.time() % 1000000 * 1000

-- Runs programs in a lilac of their own; returns what it prints.
local function programs(first, count, seconds, mode, options)
  local command = ("timeout -s KILL %d %s --grace 0.2 %s %s %d %d %d %s 2>&1"):format(seconds + 60,
    LILAC, options or "", SCRIPT, first, count, seconds, mode or "")
  local pipe = assert(io.popen(command))
  local output = pipe:read "a"
  local _, kind, status = pipe:close()
  assert(status == 0, ("%s\n%s%s %d"):format(command, output, kind, status))
  return output
end

describe("random programs", function()
  if os.getenv "LILAC_SEED" then
    it("with the seed that was given keep the invariants", function()
      programs(seed, 1, 60)
      programs(seed, 1, 60, "still")
    end)
    return
  end

  it("lose nothing, hold locks alone, end all tasks and run every <close> once", function()
    programs(seed, 1000000, STRESS and 30 or 2)
  end)

  it("do so in any order of the ready tasks", function()
    for shuffle = 1, STRESS and 20 or 2 do
      programs(seed + 500000000, 1000000, 1, nil, "--shuffle " .. seed + shuffle)
    end
  end)

  it("do so without any timer", function()
    programs(seed, 1000000, STRESS and 30 or 1, "still", "--shuffle " .. seed)
  end)

  it("without timers do the same again with the same --shuffle", function()
    local options = "--shuffle " .. seed
    local first = programs(seed, 50, 60, "still", options)
    assert.equal(first, programs(seed, 50, 60, "still", options))
    assert.matches("^50 programs", first)
  end)
end)
