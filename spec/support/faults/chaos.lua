-- Clients without manners: chaos.lua PORT CONNECTIONS SEED. Each does one of the things that happen
-- to servers, then the next connection does another. Prints how many there were.

local lilac = require "lilac"

local port, left, seed = tonumber(arg[1]), tonumber(arg[2]), tonumber(arg[3])
local AT_ONCE = 50

math.randomseed(seed)

local manners = {
  function() end, -- comes and goes
  function(stream) stream:write "half a line" end,
  function(stream) stream:write(("x"):rep(math.random(1 << 16)), "\n") end, -- does not listen
  function(stream) -- is served
    stream:write "hello\n"
    assert(stream:read() == "hello")
  end,
  function(stream) -- leaves in the middle of the answer
    stream:write(("y"):rep(50000), "\n")
    stream:read_some(1 + math.random(20000))
  end,
  function(stream) -- says no more, but listens
    stream:write "last words\n"
    stream:shutdown()
    assert(stream:read "a" == "last words\n")
  end,
  function(stream) -- is cancelled
    lilac.move_on_after(math.random() * 0.005, stream.read, stream)
  end,
}

local function visit()
  while left > 0 do
    left = left - 1
    local stream <close> = lilac.net.connect("127.0.0.1", port)
    local ok, err = pcall(manners[math.random(#manners)], stream)
    if not ok and not lilac.errors.is(err, "OSError") then error(err, 0) end
  end
end

do
  local group <close> = lilac.TaskGroup()
  for _ = 1, AT_ONCE do group:create_task(visit) end
end
print(arg[2] .. " came and went")
