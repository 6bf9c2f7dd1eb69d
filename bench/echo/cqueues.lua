local socket = require "cqueues.socket"
local serve = dofile "bench/cqueues_echo.lua"

local path = arg[1]
serve(assert(path and socket.listen { path = path } or socket.listen("127.0.0.1", 0)))
