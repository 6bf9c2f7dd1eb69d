-- Every module has its spec: src/modules/tcp.c spec/modules/tcp_spec.lua, and
-- lua/lilac/retry.lua spec/lua/retry_spec.lua. A C file that opens nothing is part of a module.

package.path = "tools/?.lua;" .. package.path
local source = require "source"

local function expect(path, spec)
  if not source.exists(spec) then source.complain(path, 1, "has no spec: %s", spec) end
end

for _, path in ipairs(source.files("src/modules", { ".c" })) do
  if source.read(path):find("\nint luaopen_lilac_") then
    expect(path, "spec/modules/" .. path:match("([^/]+)%.c$") .. "_spec.lua")
  end
end

for _, path in ipairs(source.files("lua/lilac", { ".lua" })) do
  local name = path:match("^lua/lilac/(.+)%.lua$"):gsub("/init$", "")
  expect(path, "spec/lua/" .. name .. "_spec.lua")
end

source.finish()
