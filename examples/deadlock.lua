-- Two tasks that each hold what the other needs: the one that closes the circle gets an error in
-- place of an endless wait. A program in which nothing can happen any more ends with a list of who
-- waits for what, and exit status 3.

local lilac = require "lilac"

local pen, paper = lilac.Lock(), lilac.Lock()

local function draw(first, second)
  local _ <close> = first:acquire()
  lilac.sleep(0.05)
  local _ <close> = second:acquire()
  return "done"
end

local ann, bob = lilac.create_task(draw, pen, paper), lilac.create_task(draw, paper, pen)
ann.name, bob.name = "ann", "bob"
for i, outcome in ipairs(lilac.gather({ ann, bob }, { return_exceptions = true })) do
  print(i, outcome)
end

local queue = lilac.Queue()
queue:get() -- nobody will ever put anything
