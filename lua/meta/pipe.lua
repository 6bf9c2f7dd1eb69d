---@meta lilac.pipe

local pipe = {}

--- Makes a pipe of the system: what is written to one Stream is read from the other. Reading from
--- the wrong end, or writing to it, raises an OSError (EBADF). The ends have no names: `peername`
--- and `sockname` are `""`.
---
--- Raises: OSErrors such as EMFILE.
---@param options? { limit?: integer } how long a line may be, in bytes; default 65536
---@return lilac.Stream reader
---@return lilac.Stream writer
function pipe.pair(options) end

return pipe
