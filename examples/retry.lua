-- Retries with growing pauses and jitter, so that many clients do not come back all at once.
-- Only what `on` names is retried, never a cancellation, and no pause goes past a deadline.

local lilac = require "lilac"

local attempts = 0

-- There is nobody at this port until the third attempt.
local listener = lilac.net.listen("127.0.0.1", 0)
local port = listener.port
listener:close()

local function call()
  attempts = attempts + 1
  if attempts == 3 then
    listener = lilac.net.listen("127.0.0.1", port)
  end
  local ok, stream = pcall(lilac.net.connect, "127.0.0.1", port)
  print(("attempt %d: %s"):format(attempts, ok and "connected" or stream.name))
  if not ok then error(stream, 0) end
  stream:close()
  return "done"
end

local patient = lilac.retry { attempts = 5, delay = 0.02, backoff = 2, jitter = true,
  on = "ConnectionRefusedError" }(call)
print(patient())

print "with a deadline, when the server has gone again:"
listener:close()
attempts = 0
local slow = lilac.retry { attempts = 5, delay = 2, on = "OSError" }(call)
local ok, err = pcall(lilac.timeout, 0.5, slow) -- does not sleep a second to find it is too late
print(ok, err.name)
