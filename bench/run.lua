-- Runs the benchmarks, from the top folder: lua5.4 bench/run.lua [--rounds n] [--no-peers] [name…]
-- A name is that of a workload or of its folder. bench/README.md says what the numbers mean.

local workloads = dofile "bench/workloads.lua"

local function lua_with(library)
  local probes = {}
  for i, lua in ipairs {"lua5.4", "lua5.3", "lua5.2", "lua5.1"} do
    probes[i] = ("%s -e 'require \"%s\" print \"%s\"'"):format(lua, library, lua)
  end
  return probes
end

-- In the order of the rows. The first probe that succeeds prints the interpreter's command.
local contenders = {
  {name = "limit", file = "limit.c", interpreter = ""},
  {name = "lilac", file = "lilac.lua", probes = {"ls build/lilac"}},
  {name = "stock io", file = "io.lua", probes = {"lua5.4 -e 'print \"lua5.4\"'"}},
  {
    name = "asyncio", file = "python.py",
    probes = {"python3 -c 'import asyncio, sys; asyncio.timeout; print(sys.executable)'"},
  },
  {name = "node", file = "node.js", probes = {"node -p process.execPath"}},
  {name = "cqueues", file = "cqueues.lua", probes = lua_with "cqueues"},
  {name = "luv", file = "luv.lua", probes = lua_with "luv"},
  {name = "copas", file = "copas.lua", probes = lua_with "copas"},
}

-- ---- what is run -------------------------------------------------------------------------------

local function exists(path)
  local file <close> = io.open(path)
  return file ~= nil
end

-- Runs a command; returns its output and whether it succeeded.
local function capture(command)
  local pipe = io.popen(command)
  local output = pipe:read "a"
  return output, pipe:close() == true
end

local function interpreter_find(probes)
  for _, probe in ipairs(probes) do
    local output, ok = capture(probe .. " 2>/dev/null")
    if ok then return output:match "%S+" end
  end
end

-- What follows the interpreter; nil if the workload has no such contender.
local function program_of(workload, contender)
  if workload.without and workload.without[contender.name] then return nil end
  if workload.commands then return workload.commands[contender.name] end
  local path = "bench/" .. workload.folder .. "/" .. contender.file
  local program = path:gsub("^(.*)%.c$", "build/%1")
  return exists(path) and program or nil
end

-- The contenders of a workload: each with its count, every how many rounds it runs, and its samples
-- by unit and round.
local function entries_of(workload, with_peers)
  local entries, base = {}, workload.metrics[1].of
  for _, contender in ipairs(contenders) do
    local name, program = contender.name, program_of(workload, contender)
    local is_peer = name ~= "lilac" and name ~= "limit" and name ~= base
    local count = is_peer and workload.peer_count or workload.count
    if program and count > 0 and (with_peers or not is_peer) then
      local every = is_peer and workload.repeats or 1
      local entry = {contender = contender, program = program, count = count, every = every}
      entry.samples = {}
      entry.note = count ~= workload.count and "n = " .. count or ""
      entries[#entries + 1], entries[name] = entry, entry
    end
  end
  return entries
end

local function command_of(workload, entry)
  local start = ("%s %s"):format(entry.contender.interpreter, entry.program)
  local argument = workload.argument or ""
  if not workload.driver then return ("%s %d %s"):format(start, entry.count, argument) end
  local driver = ("build/bench/%s/%s"):format(workload.folder, workload.driver)
  return ("%s %d %s %s"):format(driver, entry.count, argument, start)
end

-- Runs an entry once and adds the numbers it prints to its samples; a failure takes it out.
local function entry_run(workload, entry, round)
  if entry.failure or not entry.contender.interpreter then return end
  local command = "timeout --foreground 100 " .. command_of(workload, entry)
  local output, ok = capture(command .. " 2>&1")
  if not ok then
    entry.failure, entry.samples = output:match "[^\n]+" or "no output", {}
    return
  end
  for unit, value in output:gmatch "(%a+)%s+([%d.e+-]+)" do
    local samples = entry.samples[unit] or {}
    entry.samples[unit] = samples
    samples[round] = tonumber(value)
  end
end

-- ---- what is printed ---------------------------------------------------------------------------

-- Four significant digits.
local function number(value)
  local decimals = value >= 1000 and 0 or value >= 100 and 1 or value >= 10 and 2 or 3
  return ("%." .. decimals .. "f"):format(value)
end

-- The least, the median and the largest of some samples.
local function spread(samples)
  local sorted = {}
  for _, value in pairs(samples) do sorted[#sorted + 1] = value end
  table.sort(sorted)
  return sorted[1], sorted[(#sorted + 1) // 2], sorted[#sorted]
end

-- The median of the ratios within each round: what slows a whole round down does not change it.
local function ratio_of(samples, base)
  local ratios = {}
  for round, value in pairs(samples) do ratios[round] = value / base[round] end
  return select(2, spread(ratios))
end

local ROW <const> = "  %-22s %9s %9s - %-9s %9s   %s"

local function heading_print(metric)
  local bound = metric.max and ("at most %g %s"):format(metric.max, metric.unit)
    or metric.ratio and ("at most %g x %s"):format(metric.ratio, metric.of) or ""
  local row = ROW:format(metric.unit .. " per " .. metric.per, "median", "min", "max",
    "x " .. metric.of, bound)
  print((row:gsub("%s+$", "")))
end

-- "pass" or "MISSED" for lilac where there is a bound and something to compare.
local function verdict(metric, median, ratio)
  local bound = metric.max or metric.ratio
  local measured = metric.max and median or ratio
  if not bound or not measured then return "" end
  return measured <= bound and "pass" or "MISSED"
end

-- Prints the row of an entry; returns its verdict.
local function row_print(entry, metric, base)
  local name, samples = entry.contender.name, entry.samples[metric.unit]
  if not samples then
    print(("  %-22s %9s   %s"):format(name, "-", entry.failure or "not installed"))
    return entry.failure and (name == "lilac" or name == "limit") and "MISSED" or ""
  end
  local least, median, largest = spread(samples)
  local ratio = base and ratio_of(samples, base)
  local mark = name == "lilac" and verdict(metric, median, ratio) or ""
  local row = ROW:format(name, number(median), number(least), number(largest),
    ratio and ("%.2f"):format(ratio) or "-", mark .. entry.note)
  print((row:gsub("%s+$", "")))
  return mark
end

-- ---- the run -----------------------------------------------------------------------------------

-- Runs a workload and prints its tables; adds to the counts of `verdicts`. Every other round goes
-- backwards: who follows a program that left much memory behind pays for having it cleared.
local function workload_run(workload, options, verdicts)
  print(("\n%s: %s"):format(workload.name, workload.title))
  io.stdout:flush()
  local entries = entries_of(workload, options.with_peers)
  for round = 1, options.rounds * (workload.repeats or 1) do
    local first, last, step = 1, #entries, 1
    if round % 2 == 0 then first, last, step = last, first, -1 end
    for i = first, last, step do
      local entry = entries[i]
      if round % entry.every == 0 then entry_run(workload, entry, round) end
    end
  end
  for _, metric in ipairs(workload.metrics) do
    local base = entries[metric.of] and entries[metric.of].samples[metric.unit]
    heading_print(metric)
    for _, entry in ipairs(entries) do
      local mark = row_print(entry, metric, base)
      verdicts[mark] = (verdicts[mark] or 0) + 1
    end
  end
end

local function options_of(words)
  local options = {rounds = 5, with_peers = true, names = {}}
  local i = 1
  while words[i] do
    if words[i] == "--rounds" then
      i = i + 1
      options.rounds = math.tointeger(words[i]) or error "--rounds: a number of rounds expected"
    elseif words[i] == "--no-peers" then
      options.with_peers = false
    else
      options.names[#options.names + 1] = words[i]
    end
    i = i + 1
  end
  return options
end

local function is_wanted(workload, names)
  for _, name in ipairs(names) do
    if name == workload.name or name == workload.folder then return true end
  end
  return #names == 0
end

local options, verdicts = options_of(arg), {}
local wanted = {}
for _, workload in ipairs(workloads) do
  if is_wanted(workload, options.names) then wanted[#wanted + 1] = workload end
end
if #wanted == 0 then
  io.stderr:write("no such workload: ", table.concat(options.names, " "), "\n")
  os.exit(2)
end
for _, contender in ipairs(contenders) do
  if contender.probes then
    contender.interpreter = interpreter_find(contender.probes)
    print(("%-8s %s"):format(contender.name, contender.interpreter or "-"))
  end
end
for _, workload in ipairs(wanted) do workload_run(workload, options, verdicts) end
print(("\n%d bounds kept, %d missed"):format(verdicts.pass or 0, verdicts.MISSED or 0))
os.exit(not verdicts.MISSED)
