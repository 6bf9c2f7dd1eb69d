---@meta lilac.fs

--- Files and folders, without blocking: all of it runs in libuv's thread pool, one trip per call.
---
--- A path is a string without zero bytes. An error says what was done, to which path, and why:
--- `stat /x/y: no such file or directory (ENOENT)`; it has `path`, and `code`, `errno` and
--- `syscall` as all OSErrors. Permissions are an integer, or a string of octal digits: `"644"`.
---
--- A cancelled call raises at once. Whether the system has done it by then is open, but nothing
--- that nobody knows of stays behind: no descriptor, no temporary file or folder.
local fs = {}

---@alias lilac.Permissions integer|string

---@class lilac.Stat
---@field type "file"|"directory"|"link"|"fifo"|"socket"|"char"|"block"
---@field mode integer permissions, without the type
---@field size integer in bytes
---@field atime number when it was read, in seconds since 1970
---@field mtime number when it was written
---@field ctime number when it, its name or permissions were changed
---@field birthtime number when it was made, where the file system knows
---@field uid integer
---@field gid integer
---@field nlink integer how many names it has
---@field dev integer with `ino` what it is known by
---@field ino integer
---@field blocks integer of 512 bytes, in use
---@field blksize integer

--- Tells about a file; of a link, about what it leads to.
---
--- Raises: FileNotFoundError, PermissionError and other OSErrors.
---@async
---@param path string
---@return lilac.Stat
function fs.stat(path) end

--- As `stat`, but of a link tells about the link.
---@async
---@param path string
---@return lilac.Stat
function fs.lstat(path) end

--- Whether there is such a file or folder. False also for a link that leads nowhere.
---
--- Raises: PermissionError and other OSErrors, when that cannot be told.
---@async
---@param path string
---@return boolean
function fs.exists(path) end

--- Whether the process may read, write or execute (of folders: enter) it. What is true now need
--- not be so at the next call: to open a file, open it.
---@async
---@param path string
---@param letters? string of "rwx"; default "r"
---@return boolean
function fs.access(path, letters) end

---@class lilac.MkdirOptions
---@field parents? boolean make the folders above too; default false
---@field exist_ok? boolean a folder that is there is no error; default false
---@field mode? lilac.Permissions of the last one, less the umask; default "777"

--- Makes a folder.
---
--- Raises: FileExistsError, FileNotFoundError (no folder above) and other OSErrors.
---@async
---@param path string
---@param options? lilac.MkdirOptions
function fs.mkdir(path, options) end

---@class lilac.TemporaryOptions
---@field dir? string where; default $TMPDIR, or /tmp
---@field prefix? string how the name begins; default "tmp"

--- Makes a folder with a new name, for this user alone. Removing it is up to the caller.
---@async
---@param options? lilac.TemporaryOptions
---@return string path
function fs.mkdtemp(options) end

--- Removes a file, a link or an empty folder.
---
--- Raises: FileNotFoundError; OSError with code ENOTEMPTY; other OSErrors.
---@async
---@param path string
function fs.remove(path) end

--- Removes a folder and all that is in it; follows no link. Stops in the middle when it is
--- cancelled.
---
--- Raises: NotADirectoryError for anything else, also a link to a folder; OSErrors.
---@async
---@param path string
function fs.rmtree(path) end

--- Gives a file or folder another name, in the same file system. A file of the new name is
--- replaced.
---
--- Raises: IsADirectoryError; OSError with code EXDEV for another file system; other OSErrors.
---@async
---@param from string
---@param to string
function fs.rename(from, to) end

--- Gives a file another name besides.
---
--- Raises: FileExistsError and other OSErrors.
---@async
---@param path string
---@param new string
function fs.link(path, new) end

--- Makes a symbolic link.
---
--- Raises: FileExistsError and other OSErrors.
---@async
---@param target string where it leads, absolute or as seen from the folder of the link
---@param new string
function fs.symlink(target, new) end

--- Reads where a symbolic link leads.
---
--- Raises: OSError with code EINVAL for what is no link; other OSErrors.
---@async
---@param path string
---@return string target
function fs.readlink(path) end

--- The absolute path without links, "." and "..".
---
--- Raises: FileNotFoundError and other OSErrors.
---@async
---@param path string
---@return string
function fs.realpath(path) end

--- Sets the permissions.
---@async
---@param path string
---@param mode lilac.Permissions
function fs.chmod(path, mode) end

--- Sets the times of a file.
---@async
---@param path string
---@param accessed? number in seconds since 1970; default now
---@param modified? number default `accessed`
function fs.utime(path, accessed, modified) end

--- Cuts a file, or fills it up with zero bytes.
---@async
---@param path string
---@param size integer in bytes
function fs.truncate(path, size) end

return fs
