---@meta lilac.child

--- What lilac.process is made of: child processes without a policy of how they are ended.
local child = {}

---@class lilac.ChildSpawnOptions
---@field cwd? string
---@field env? table<string, string|false>
---@field group? boolean
---@field detached? boolean
---@field kept? boolean
---@field limit? integer of a line of the streams, in bytes; default 65536

---@class lilac.Child
local Child = {}

--- Waits for the end. Cancelling leaves the child alone. Any number of tasks may wait.
---@async
---@return integer? code exit status; nil when a signal ended it
---@return string? signal its name
function Child:wait() end

--- Sends a signal to the child, and to its group if it leads one.
---@param signal string
---@return boolean sent false: it has ended
function Child:kill(signal) end

--- Sends SIGTERM as `kill` does. What is left of the group when the child has ended gets SIGKILL.
---@return boolean sent false: it has ended
function Child:terminate() end

--- Lets a child go that was `kept`: now, or when it ends. Twice is fine.
function Child:reap() end

---@return integer
function Child:pid() end

--- Starts a program, which is looked for in the PATH that it will have.
---
--- `group` (default true): it leads a session and process group of its own. `detached`: the end of
--- lilac leaves it alone. `kept`: it stays a zombie until `reap`, so that its group can still be
--- signalled when it has ended itself.
---
--- Raises: FileNotFoundError, PermissionError, NotADirectoryError and other OSErrors.
---@param argv string[]
---@param stdin? lilac.ChildEnd default "inherit"
---@param stdout? lilac.ChildEnd
---@param stderr? lilac.ChildEnd|"stdout"
---@param options? lilac.ChildSpawnOptions
---@return lilac.Child
---@return lilac.Stream? stdin the other end of a "pipe"
---@return lilac.Stream? stdout
---@return lilac.Stream? stderr
function child.spawn(argv, stdin, stdout, stderr, options) end

return child
