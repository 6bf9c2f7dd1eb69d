-- Rounds of work leave nothing behind: see spec/support/memory.lua. LILAC_STRESS=1 (make stress)
-- does more of it.
local LILAC = os.getenv "LILAC" or "build/lilac"
local SIZE = os.getenv "LILAC_STRESS" == "1" and 100000 or 10000
local SANITIZED = LILAC:find "asan" and "SANITIZED=1 " or ""

local WORKS = { "tasks", "timeouts", "expired", "cancels", "queues", "groups", "callbacks",
  "abandoned", "coroutines", "depths", "errors", "files", "streams", "unix_sockets", "pairs",
  "listeners" }

describe("rounds of work", function()
  for _, work in ipairs(WORKS) do
    it(("with %s leave memory, tasks and descriptors as they were"):format(work), function()
      -- A full collection before every resume is for others.
      local pipe = assert(io.popen(("LILAC_STRESS= %stimeout -s KILL 120 %s "
        .. "spec/support/memory.lua %s %d 2>&1"):format(SANITIZED, LILAC, work, SIZE)))
      local output = pipe:read "a"
      local _, kind, status = pipe:close()
      assert(status == 0, ("%s %d\n%s"):format(kind, status, output))
    end)
  end
end)
