-- script(source [, options]) → job: a script in a lilac of its own, beside the specs (see
-- background.lua). `options` are those of the command line. The file goes with the job.

local background = require "spec.support.background"

local LILAC = os.getenv "LILAC" or "build/lilac"

return function(source, options)
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write(source)
  file:close()
  local job = background(("exec %s %s %s"):format(LILAC, options or "", path))
  return setmetatable({}, {
    __index = job,
    __close = function()
      job:__close()
      os.remove(path)
    end,
  })
end
