-- Work grows with the number of tasks, not with its square: sixteen times as many cost about
-- sixteen times the CPU, and 256 times where something is searched for each.
local LILAC = os.getenv "LILAC" or "build/lilac"
local FEW = LILAC:find "asan" and 500 or 8000 -- a sanitizer looks at memory, not at time
local TIMES = 16
local BOUND = 48

local WORKS = { "exit", "wait", "as_completed", "group", "event", "lock", "queue", "awaiters",
  "callbacks", "timeouts" }

--- CPU seconds of a lilac of its own, in user mode: the kernel's part is another's business.
local function cpu_seconds(work, count)
  local command = "LILAC_STRESS= bash -c 'TIMEFORMAT=%%U; "
    .. "time timeout -s KILL 60 %s spec/support/scale.lua %s %d' 2>&1"
  local pipe = assert(io.popen(command:format(LILAC, work, count)))
  local output = pipe:read "a"
  pipe:close()
  return tonumber(output) or error(output)
end

describe("the cost of many tasks", function()
  for _, work in ipairs(WORKS) do
    it(("grows in proportion: %s"):format(work), function()
      local few, many
      for _ = 1, 4 do -- so short a time may be misread once; a square stays a square
        local nothing = cpu_seconds(work, 1)
        few = math.max(cpu_seconds(work, FEW) - nothing, 0.005)
        many = cpu_seconds(work, FEW * TIMES) - nothing
        if many / few < BOUND then return end
      end
      error(("%g s for %d, %g s for %d"):format(few, FEW, many, FEW * TIMES))
    end)
  end
end)
