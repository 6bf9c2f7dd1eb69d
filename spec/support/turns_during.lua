-- turns_during(fn, …) → how many turns another task has while fn runs: whether fn leaves the loop
-- to others.

local lilac = require "lilac"

return function(fn, ...)
  local turns = 0
  local other = lilac.create_task(function()
    while true do
      turns = turns + 1
      lilac.sleep(0)
    end
  end)
  local ok, err = pcall(fn, ...)
  other:cancel()
  assert(ok, err)
  return turns
end
