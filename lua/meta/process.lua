---@meta lilac.process

---@alias lilac.ChildEnd "inherit"|"pipe"|"null"|lilac.Stream|file*

--- The program and its arguments are numbered: `{ "gcc", "-c", path, cwd = "/src" }`.
---@class lilac.ChildOptions
---@field [integer] string|number
---@field stdin? lilac.ChildEnd
---@field stdout? lilac.ChildEnd
---@field stderr? lilac.ChildEnd|"stdout"
---@field cwd? string working directory; default ours
---@field env? table<string, string|number|false> changes to our environment; false removes a name
---@field shell? boolean the program is a line for /bin/sh; what follows is $1 and on; default false
---@field group? boolean leads a process group and session of its own; default true
---@field grace? number seconds between SIGTERM and SIGKILL; default 3

---@class lilac.SpawnOptions : lilac.ChildOptions
---@field detached? boolean neither its scope nor our end ends it; default false
---@field limit? integer how long a line of its streams may be, in bytes; default 65536

---@class lilac.RunOptions : lilac.ChildOptions
---@field input? string what it reads from stdin; default nothing
---@field capture? boolean collect stdout and stderr; false: it has our streams; default true
---@field timeout? number in seconds; default none
---@field check? boolean raise a ProcessError unless it ends with status 0; default false
---@field limit? integer how much of each output is collected, in bytes; default no limit

---@class lilac.ProcessResult
---@field code? integer exit status; nil when a signal ended it
---@field signal? string its name
---@field stdout? string unless it went elsewhere
---@field stderr? string
