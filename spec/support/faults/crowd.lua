-- So many clients at once, all of whose lines are echoed: crowd.lua PORT COUNT. Prints "all here"
-- when all are connected, goes on when its stdin says so or ends, and prints "all served".

local lilac = require "lilac"

io.stdout:setvbuf "line"

local port, count = tonumber(arg[1]), tonumber(arg[2])
local CONNECTING = 200 -- at a time

local door = lilac.Semaphore(CONNECTING)
local streams = {}

local function enter(i)
  local _ <close> = door:acquire()
  streams[i] = lilac.net.connect("127.0.0.1", port)
end

local function talk(i, text)
  local line = ("%s from %d"):format(text, i)
  streams[i]:write(line, "\n")
  local answer = streams[i]:read()
  if answer ~= line then error(("'%s' came back as '%s'"):format(line, answer)) end
end

local function all(fn, ...)
  local group <close> = lilac.TaskGroup()
  for i = 1, count do group:create_task(fn, i, ...) end
end

all(enter)
all(talk, "hello")
print "all here"
local until_file = arg[3] -- stays until this file is gone
while until_file and io.open(until_file) do lilac.sleep(0.01) end
all(talk, "goodbye")
for i = 1, count do streams[i]:close() end
print "all served"
