-- eventually(condition): lets others run until condition() holds; raises when it does not for long.
-- For what goes on in the background, which nobody can await.

local lilac = require "lilac"

local PATIENCE = 20 -- seconds
local PAUSE = 0.005

return function(condition)
  local deadline = lilac.time() + PATIENCE
  while not condition() do
    if lilac.time() > deadline then error(("waited %d s in vain"):format(PATIENCE), 2) end
    lilac.sleep(PAUSE)
  end
end
