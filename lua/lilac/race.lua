--- race(host, addresses, delay, connect, options) → stream: tries the addresses of a host with
--- connect(address, port, options), as RFC 8305 ("happy eyeballs") says. Families take turns,
--- beginning with that of the first address, which the system's resolver chose (RFC 6724: IPv6,
--- where that leads anywhere). An attempt gets `delay` seconds before the next one joins it, which
--- starts at once when one fails. The first connection wins; the other attempts are cancelled. When
--- all fail, the error lists every one, and that of a single address stays as it is; an error that
--- is no OSError ends the race.

local lilac = require "lilac"
local errors = lilac.errors

local function interleave(addresses)
  local first, second, order = {}, {}, {}
  for _, at in ipairs(addresses) do
    local list = at.family == addresses[1].family and first or second
    list[#list + 1] = at
  end
  for i = 1, math.max(#first, #second) do
    order[#order + 1] = first[i]
    order[#order + 1] = second[i]
  end
  return order
end

local function all(failures, predicate)
  for _, failure in ipairs(failures) do
    if not predicate(failure) then return false end
  end
  return true
end

--- The closest class that all failures belong to.
local function class_of(failures)
  for _, class in ipairs { failures[1].name, "ConnectionError" } do
    if all(failures, function(failure) return errors.is(failure, class) end) then return class end
  end
  return "OSError"
end

--- One error about all attempts.
local function failed(host, port, failures)
  local texts, first = {}, failures[1]
  for i, failure in ipairs(failures) do texts[i] = failure.message:gsub("^connect ", "") end
  local is_same = all(failures, function(failure) return failure.code == first.code end)
  return errors.new(class_of(failures),
    ("connect %s:%d: %s"):format(host, port, table.concat(texts, "; ")), {
      syscall = "connect",
      code = is_same and first.code or nil,
      errno = is_same and first.errno or nil,
      errors = failures,
    })
end

return function(host, addresses, delay, connect, options)
  if #addresses == 1 then
    local ok, result = pcall(connect, addresses[1].address, addresses[1].port, options)
    if ok then return result end
    error(result, 0)
  end
  local order, failures = interleave(addresses), {}
  local winner
  local running = 0
  local news = lilac.Event() -- an attempt has ended
  local _ <close> = setmetatable({}, { __close = function(_, err)
    if err ~= nil and winner then winner:close() end -- cancelled at the finishing line
  end })
  local group <close> = lilac.TaskGroup()

  local function attempt(i)
    local ok, result = pcall(connect, order[i].address, order[i].port, options)
    if not ok and not errors.is(result, "OSError") then error(result, 0) end
    running = running - 1
    if not ok then
      failures[i] = result
    elseif winner then
      result:close()
    else
      winner = result
    end
    news:set()
  end

  for i = 1, #order do
    news:clear()
    running = running + 1
    group:create_task(attempt, i).name = ("connect %s"):format(order[i].address)
    lilac.move_on_after(i < #order and delay or nil, news.wait, news)
    if winner then break end
  end
  while not winner and running > 0 do
    news:clear()
    news:wait()
  end
  group:cancel()
  if not winner then error(failed(host, order[1].port, failures)) end
  return winner
end
