-- A busy program that ends, in one of four ways, at each of its await points in turn: see
-- spec/support/anywhere.lua. `make test` tries a sample of the points, LILAC_STRESS=1 (make
-- stress) and the sanitizers all of them. LILAC_SEED=n repeats a sample.
local LILAC = os.getenv "LILAC" or "build/lilac"
local ALL = os.getenv "LILAC_STRESS" == "1" or LILAC:find "asan" ~= nil
local SAMPLE = 12 -- points of each way
local SEED = tonumber(os.getenv "LILAC_SEED") or os.time() % 1000000

-- Returns what the program prints, how it ended ("exit", "signal") and with which number.
local function run(how, point)
  local report = os.tmpname()
  local pipe = assert(io.popen(("LILAC_STRESS= timeout -s KILL 60 %s spec/support/anywhere.lua "
    .. "%s %d 2>%s"):format(LILAC, how, point, report)))
  local output = pipe:read "a"
  local _, kind, status = pipe:close()
  local file = assert(io.open(report))
  local text = file:read "a"
  file:close()
  os.remove(report)
  if kind == "signal" then status = 128 + status end
  return output, status, text
end

local count
local draw = SEED

local function points()
  if not count then count = tonumber((run("count", 0):match "^%d+")) end
  local chosen = {}
  for point = 1, count do
    draw = draw * 1103515245 + 12345 & 0x7fffffff
    if ALL or (draw >> 8) % count < SAMPLE then chosen[#chosen + 1] = point end
  end
  return chosen
end

-- Ends the program everywhere; `statuses` are right, and 0 where main was over already.
local function check(how, statuses)
  for _, point in ipairs(points()) do
    local output, status, report = run(how, point)
    local where = ("LILAC_SEED=%d: %s at %d of %d: status %d\n%s%s"):format(SEED, how, point, count,
      status, output, report)
    assert(not report:find "Sanitizer" and not report:find "runtime error:", where)
    assert(not report:find "did not end within the grace", where)
    local entered, left = output:match "(%d+) entered, (%d+) left"
    assert(entered == left, where)
    local was_there = output:find "main was there"
    assert(statuses[status] or status == 0 and not was_there and how ~= "exit", where)
  end
end

describe("a program that ends anywhere", function()
  it("by os.exit cleans up, and has that status", function() check("exit", { [7] = true }) end)

  -- It may have been raised where an error is nobody's, or caught by a pcall.
  it("by an error cleans up", function() check("error", { [0] = true, [1] = true }) end)

  it("by SIGTERM cleans up, and dies of it", function() check("signal", { [143] = true }) end)

  it("by a cancellation of main cleans up", function() check("cancel", { [1] = true }) end)
end)
