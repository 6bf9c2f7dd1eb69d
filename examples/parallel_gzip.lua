-- Compresses the files of a folder with gzip, a few at a time. Ctrl-C, or an error, ends the gzips
-- that run, and none is left behind.
--
--    lilac examples/parallel_gzip.lua FOLDER [LIMIT]
--
-- Without a folder it makes one to show it on.

local lilac = require "lilac"
local fs, process = lilac.fs, lilac.process

local folder, limit = arg[1], tonumber(arg[2] or 3)

local show <close> = setmetatable({}, { __close = function(self)
  if self.path then fs.rmtree(self.path) end
end })

if not folder then
  folder = fs.mkdtemp()
  show.path = folder
  for i = 1, 8 do fs.write_file(folder .. "/" .. i, ("a line of text\n"):rep(i * 1e5)) end
end

local running, most, saved = 0, 0, 0

local function compress(path)
  local before = fs.stat(path).size
  running = running + 1
  most = math.max(most, running)
  process.run { "gzip", "--force", path, check = true }
  running = running - 1
  local after = fs.stat(path .. ".gz").size -- not in the sum: `saved` would be read before the wait
  saved = saved + before - after
end

local names = {}
for name, kind in fs.scandir(folder) do
  if kind == "file" and not name:find "%.gz$" then names[#names + 1] = name end
end

local permits = lilac.Semaphore(limit)
lilac.TaskGroup(function(group)
  for _, name in ipairs(names) do
    group:create_task(function()
      local _ <close> = permits:acquire()
      compress(folder .. "/" .. name)
    end)
  end
end)

print(("%d files, up to %d at a time, %d MB less"):format(#names, most, saved // 1e6))
