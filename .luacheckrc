std = "lua54"
max_line_length = 100
codes = true
exclude_files = { "build" }

files["spec"].std = "+busted"
-- Stubs for editors declare parameters and leave them unused: that is their trade.
files["lua/meta"].ignore = { "211", "212", "241", "631" }
files["lua/meta"].allow_defined_top = true
