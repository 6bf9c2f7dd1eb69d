-- shim(variables) → what stands before the command of a child (the option `env` of child.lua), so
-- that its calls of the C library go through shim.c; variables: { SHIM_FULL = 3, … }.

local path

local function build()
  path = os.tmpname()
  assert(os.execute(("${CC:-cc} -D_GNU_SOURCE -shared -fPIC -o %s spec/support/shim.c -ldl")
    :format(path)))
end

return function(variables)
  if not path then build() end
  local words = {}
  for name, value in pairs(variables) do words[#words + 1] = ("%s='%s'"):format(name, value) end
  -- ASan is content to come second, as long as it is told.
  words[#words + 1] = "ASAN_OPTIONS=$ASAN_OPTIONS:verify_asan_link_order=0"
  words[#words + 1] = "LD_PRELOAD=" .. path
  return "env " .. table.concat(words, " ")
end
