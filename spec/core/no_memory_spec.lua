-- A program that uses much of lilac is refused memory, once, twice and for good, each time that it
-- asks for some: see spec/support/no_memory.lua. The release takes small blocks in arenas, and asks
-- some two hundred times; `make FLAVOUR=debug test` takes each by itself, and tries a sample of
-- thousands. LILAC_STRESS=1 (make stress) makes the sample larger, LILAC_SEED=n repeats one.
local shim = require "spec.support.shim"

local LILAC = os.getenv "LILAC" or "build/lilac"
local SANITIZED = LILAC:find "asan" or LILAC:find "tsan" -- they have a malloc of their own
local SAMPLE = os.getenv "LILAC_STRESS" == "1" and 2000 or 150
local SEED = tonumber(os.getenv "LILAC_SEED") or os.time() % 1000000

local FOR_EVER = 1 << 40
local ABORTED = 134 -- libuv and the C library end a process whose memory they cannot do without

local function read(path)
  local file <close> = assert(io.open(path))
  return file:read "a"
end

-- Runs the program; returns its status, 128 + n when signal n ended it, and what it wrote.
local function run(variables)
  local written = os.tmpname()
  local _, kind, status = os.execute(("LILAC_STRESS= timeout -s KILL 60 %s %s "
    .. "spec/support/no_memory.lua >%s 2>&1"):format(shim(variables, "no_memory"), LILAC, written))
  local text = read(written)
  os.remove(written)
  return kind == "signal" and 128 + status or status, text
end

local function count()
  local path = os.tmpname()
  local status, text = run { REFUSE_REPORT = path }
  assert.equal(0, status, text)
  local asked = tonumber(read(path))
  os.remove(path)
  return asked
end

local function check(times)
  local asked, draw = count(), SEED
  for from = 1, asked do
    draw = draw * 1103515245 + 12345 & 0x7fffffff
    if (draw >> 8) % asked < SAMPLE then
      local status, text = run { REFUSE_FROM = from, REFUSE_COUNT = times }
      local where = ("LILAC_SEED=%d: from %d of %d on: status %d\n%s"):format(SEED, from, asked,
        status, text)
      assert(status <= 1 or status == ABORTED, where)
      assert(status ~= 1 or text:find "memory", where)
      assert(status ~= 0 or text:find "done\n", where)
    end
  end
end

describe("a program that is refused memory #native", function()
  if SANITIZED then return end

  it("once goes on, or ends with an error", function() check(1) end)

  -- Lua asks a second time, after a collection.
  it("twice does so too", function() check(2) end)

  it("for good ends with an error", function() check(FOR_EVER) end)
end)
