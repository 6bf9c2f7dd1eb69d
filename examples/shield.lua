-- Some work must not be cut short. shield awaits it; a cancellation (here of a timeout) ends the
-- waiting and leaves the work running. Keep the task, and wait for it later.

local lilac = require "lilac"

local saved = false

local function save()
  lilac.sleep(0.2)
  saved = true
  return "saved"
end

local saving = lilac.create_task(save)
local finished = lilac.move_on_after(0.05, lilac.shield, saving)
print("waited to the end: " .. tostring(finished))
print("saved by now: " .. tostring(saved))
print("later: " .. saving:await())

-- Without the shield, cancelling who waits cancels what is awaited.
local other = lilac.create_task(save)
lilac.move_on_after(0.05, other.await, other)
print("without a shield: " .. tostring(other:cancelled() and "cancelled" or "running"))
