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

--- Reads a whole file: any, also one of /proc, a FIFO (up to its end) or a terminal.
---
--- Raises: LimitOverrunError when there is more than `limit`; FileNotFoundError, IsADirectoryError
--- and other OSErrors.
---@async
---@param path string
---@param limit? integer in bytes; default none
---@return string
function fs.read_file(path, limit) end

---@class lilac.WriteFileOptions
---@field atomic? boolean default true, and false with `append`
---@field append? boolean write at the end of what is there; default false
---@field sync? boolean wait until it is on the disk; default true
---@field mode? lilac.Permissions default: those of the file replaced, else "666" less the umask

--- Writes a whole file. Atomic, the data goes to a new file in the same folder, which then takes
--- the place of the old one: whoever reads it meanwhile, or after a crash, finds the old content or
--- the new one, and never a part. The old one's permissions are kept, and its owner where the
--- system allows that; of a link, the file it leads to is replaced. Devices and FIFOs are written
--- in place.
---
--- On every error, and when it is cancelled in time, the old file is still there, and nothing else.
--- Cancelled while the system renames, the new one may be there. In place (`atomic = false`) a part
--- may have been written by then.
---
--- Differs from a program that opens the file: other hard links to it keep the old content, and the
--- folder must be writable.
---
--- Raises: OSError with code ENOSPC, EFBIG, EROFS, …; PermissionError, also for a file that may not
--- be written; IsADirectoryError; FileNotFoundError (no folder above).
---@async
---@param path string
---@param data string
---@param options? lilac.WriteFileOptions
function fs.write_file(path, data, options) end

--- Copies a file, through links. One that it makes has the permissions of the first, less the
--- umask; the content of one that is there is replaced. What it has made is removed on an error,
--- and when it is cancelled.
---
--- Raises: FileExistsError (`exclusive`); IsADirectoryError; OSError with code EINVAL for twice the
--- same file, or a FIFO; ENOSPC and other OSErrors.
---@async
---@param from string
---@param to string
---@param options? { exclusive?: boolean } the file has to be a new one; default false
function fs.copyfile(from, to, options) end

--- What is in a folder, in no order, read in batches: `for name, type in fs.scandir(path) do`. The
--- loop closes it; so do its end and a scope. "." and ".." are left out. One task at a time.
---
--- Raises: FileNotFoundError, NotADirectoryError, PermissionError and other OSErrors.
---@async
---@param path string
---@return lilac.Folder folder an iterator: name, type (as in `lilac.Stat`; of a link "link")
function fs.scandir(path) end

---@class lilac.Folder
---@operator call: string?
local Folder = {}

--- Stops reading the folder. Who waits in it gets a ClosedError. Twice is fine; does not wait.
function Folder:close() end

--- What `fs.watch` returns: an iterator over `event, name`. It ends when it is closed. One task at
--- a time.
---@class lilac.Watcher
---@operator call: string?
local Watcher = {}

--- Stops watching. Who waits gets nil: the end. Twice is fine; does not wait.
function Watcher:close() end

---@class lilac.OpenOptions
---@field mode? lilac.Permissions of a file that is made, less the umask; default "666"
---@field exclusive? boolean the file has to be a new one; default false

--- Opens a file, in the modes of `io.open`: "r", "w", "a", "r+", "w+", "a+", and a "b" that
--- changes nothing.
---
--- Nothing blocks for ever: a FIFO is opened at once, also before there is a writer, and reading
--- it waits for one without holding a thread. For writing it has to have a reader (ENXIO).
---
--- Raises: FileNotFoundError, FileExistsError (`exclusive`), IsADirectoryError, PermissionError and
--- other OSErrors.
---@async
---@param path string
---@param mode? string default "r"
---@param options? lilac.OpenOptions
---@return lilac.File
function fs.open(path, mode, options) end

---@class lilac.MkstempOptions : lilac.TemporaryOptions
---@field suffix? string how the name ends; default ""

--- Makes a file with a new name, for this user alone, and opens it as "w+". Removing it is up to
--- the caller.
---@async
---@param options? lilac.MkstempOptions
---@return lilac.File
---@return string path
function fs.mkstemp(options) end

--- An open file. Reads like those of `io`, but awaits: a file that is read in order is read ahead
--- in chunks of up to 256 KiB, and what is written is queued, up to 64 KiB, and written behind.
---
--- Its operations take turns, in the order of their coming: what one call reads or writes is
--- whole, whoever else uses the file.
---
--- It is closed at the end of its scope (`<close>`). One that is dropped is closed by the garbage
--- collector, and at the latest at the end of the program; what was queued is written then, too,
--- in the background, but an error of that is lost.
---
--- Differs from `io`: errors raise. `write(2.0)` writes `2.0`, as `tostring` says. Reading and
--- writing may follow each other without a `seek`. What was added after the end of the file was
--- met is read by the next call.
---@class lilac.File
local File = {}

--- Reads in one or several formats, like `file:read`: `"l"` a line without its newline (default),
--- `"L"` with it, `"n"` a number, `"a"` all up to the end (`""` at the end), a number: so many
--- bytes, fewer only before the end. nil for the first format that finds nothing; those after it
--- are left out.
---
--- A cancelled read has taken nothing.
---
--- Raises: OSErrors; ClosedError when the file is closed, also meanwhile; InvalidStateError when it
--- was opened for writing.
---@async
---@param ... "l"|"L"|"n"|"a"|integer
---@return string|number|nil ...
function File:read(...) end

--- Iterates over the file: `for line in file:lines() do`. Does not close it.
---@param ... "l"|"L"|"n"|"a"|integer as in `read`
---@return async fun(): string|number|nil, ...
function File:lines(...) end

--- Writes strings and numbers. Returns when they are queued, and what is queued is less than the
--- buffer. What was accepted will be written whole: a cancellation while it waits for room takes
--- nothing back. One that comes while other tasks have their turn means that nothing is written.
---
--- Raises: an error of this write or of an earlier one, once: OSError with code ENOSPC, EFBIG, …;
--- BrokenPipeError. What was queued is dropped then, and the position is where writing ended.
--- ClosedError; InvalidStateError when the file was opened for reading.
---@async
---@param ... string|number
---@return lilac.File self
function File:write(...) end

--- Waits until all that was written is handed to the system.
---
--- Raises: as `write`.
---@async
---@return lilac.File self
function File:flush() end

--- Flushes, and waits until the system has it on the disk.
---
--- Raises: as `write`.
---@async
---@return lilac.File self
function File:sync() end

--- Moves to, and tells, the position of what is read or written next, like `file:seek`.
---
--- Raises: OSError with code EINVAL before the beginning, ESPIPE for FIFOs and devices; as `write`.
---@async
---@param whence? "set"|"cur"|"end" default "cur"
---@param offset? integer default 0
---@return integer position from the beginning
function File:seek(whence, offset) end

--- Sets when what is written goes to the file: "full" when the buffer is full, "line" when there
--- is a newline too, "no" at once.
---@param mode "full"|"line"|"no"
---@param size? integer of the buffer, in bytes; default 65536
---@return lilac.File self
function File:setvbuf(mode, size) end

--- Cuts the file, or fills it up with zero bytes. The position stays as it is.
---@async
---@param size? integer default: the position
---@return lilac.File self
function File:truncate(size) end

--- Tells about the file, as `fs.stat`, after what was written before.
---@async
---@return lilac.Stat
function File:stat() end

--- Writes what is queued and closes the file. Other tasks that use it get a ClosedError; a request
--- that is going on is waited for. Cancelled, it goes on in the background. Twice is fine.
---
--- Raises: an error of what was queued (ENOSPC, …); the file is closed nevertheless.
---@async
function File:close() end

return fs
