-- shim(variables [, name]) → what stands before the command of a child (the option `env` of
-- child.lua), so that its calls of the C library go through spec/support/<name>.c, or shim.c;
-- variables: { SHIM_FULL = 3, … }.

local paths = {}

local function build(name)
  local path = os.tmpname()
  assert(os.execute(("${CC:-cc} -D_GNU_SOURCE -shared -fPIC -o %s spec/support/%s.c -ldl")
    :format(path, name)))
  return path
end

return function(variables, name)
  name = name or "shim"
  paths[name] = paths[name] or build(name)
  local words = {}
  for variable, value in pairs(variables) do
    words[#words + 1] = ("%s='%s'"):format(variable, value)
  end
  -- ASan is content to come second, as long as it is told.
  words[#words + 1] = "ASAN_OPTIONS=$ASAN_OPTIONS:verify_asan_link_order=0"
  words[#words + 1] = "LD_PRELOAD=" .. paths[name]
  return "env " .. table.concat(words, " ")
end
