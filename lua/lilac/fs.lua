--- Files and folders, without blocking. The parts are in C (see lua/meta/fs.lua); here they come
--- together.

local PARTS = { "file", "paths" }

local fs = {}

for _, part in ipairs(PARTS) do
  for name, fn in pairs(require("lilac." .. part)) do fs[name] = fn end
end

return fs
