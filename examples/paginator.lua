-- An iterator that awaits: it fetches a page when the loop needs one, and hides that there are any.
-- The generic `for` calls it like any other iterator.

local lilac = require "lilac"

local words = { "amber", "birch", "cedar", "dune", "ember", "fjord", "grove" }
local requests = 0

-- Stands for a remote call: so many words from an offset on, and where the next page begins.
local function fetch_page(offset)
  lilac.sleep(0.01)
  requests = requests + 1
  local page = table.move(words, offset, math.min(offset + 2, #words), 1, {})
  return page, offset + 3 <= #words and offset + 3 or nil
end

local function all_words()
  local page, index, next_offset = {}, 0, 1
  return function()
    while index == #page do
      if not next_offset then return nil end
      page, next_offset = fetch_page(next_offset)
      index = 0
    end
    index = index + 1
    return page[index]
  end
end

for word in all_words() do
  print(word)
  if word == "ember" then break end -- the third page is never asked for
end
print("requests: " .. requests)
