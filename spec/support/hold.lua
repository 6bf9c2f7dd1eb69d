-- hold(seconds): computes for so long without awaiting, so that deadlines pass that the loop has
-- not seen.

local lilac = require "lilac"

return function(seconds)
  local finish = lilac.time() + seconds
  repeat until lilac.time() >= finish
end
