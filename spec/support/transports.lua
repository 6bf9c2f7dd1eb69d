-- Everything that is a Stream: name → { pair =, … }, for spec/modules/transports_spec.lua, which
-- says the same of all of them.
--
--    pair(options) → a, b [, also]   two open Streams: what is written to `a` is read from `b`;
--                                    and something that is to be closed after them
--    one_way                         nothing goes from `b` to `a`
--    resets                          closing an end with unread data resets the connection
--    endless                         no end is ever told: what is closed takes the rest with it
--    limit                           of lines; that of `options` is not taken
--    setup(), teardown()             before the first pair and after the last
--
-- `options` are those of the streams: `limit`.

local lilac = require "lilac"
local certificates = require "spec.support.certificates"

local function connected(listener, connect, ...)
  local _ <close> = listener
  local stream = connect(...)
  return stream, listener:accept()
end

local function unix_pair(name, options)
  return connected(lilac.unix.listen(name, options), lilac.unix.connect, name, options)
end

local transports = {}

transports["TCP"] = {
  resets = true,
  pair = function(options)
    local listener = lilac.tcp.listen("127.0.0.1", 0, options)
    return connected(listener, lilac.tcp.connect, "127.0.0.1", listener.port, options)
  end,
}

transports["a Unix socket"] = {
  resets = true,
  pair = function(options)
    local path = os.tmpname()
    os.remove(path)
    return unix_pair(path, options)
  end,
}

transports["an abstract Unix socket"] = {
  resets = true,
  pair = function(options) return unix_pair("@lilac-" .. math.random(1 << 40), options) end,
}

transports["a pipe"] = {
  one_way = true,
  pair = function(options)
    local reader, writer = lilac.pipe.pair(options)
    return writer, reader
  end,
}

transports["stdin and stdout of a child"] = {
  one_way = true,
  pair = function(options)
    local cat = lilac.process.spawn { "cat", stdin = "pipe", stdout = "pipe",
      limit = options and options.limit }
    return cat.stdin, cat.stdout, cat
  end,
}

local terminal -- the module of terminal.c, once it was needed

local function load_terminal()
  local path = os.tmpname()
  assert(os.execute(("${CC:-cc} -shared -fPIC $(pkg-config --cflags lua5.4) -o %s "
    .. "spec/support/terminal.c"):format(path)))
  local open = assert(package.loadlib(path, "luaopen_terminal"))
  os.remove(path)
  return open()
end

--- stdin and stdout are the ends of one terminal then, until the third is closed.
transports["a terminal"] = {
  one_way = true,
  endless = true,
  limit = 1024 * 1024,
  setup = function() terminal = terminal or load_terminal() end,
  pair = function()
    local stdio = lilac.stdio
    pcall(function() stdio.stdin:close() end) -- that of other specs
    pcall(function() stdio.stdout:close() end)
    terminal.take()
    assert(stdio.stdin:isatty() and stdio.stdout:isatty())
    return stdio.stdout, stdio.stdin, { close = terminal.give_back }
  end,
}

transports["a pair in memory"] = {
  pair = function(options) return lilac.testing.stream_pair(options) end,
}

local made -- the certificates

--- TLS in place over another transport.
local function over_tls(pair)
  return {
    setup = function() made = certificates() end,
    teardown = function() made:remove() end,
    pair = function(options)
      local a, b, also = pair(options)
      lilac.gather(
        function() a:start_tls { server_hostname = "localhost", ca = made.ca } end,
        function()
          b:start_tls { server_side = true, cert = made:path "good.pem",
            key = made:path "good.key" }
        end)
      return a, b, also
    end,
  }
end

transports["TLS over TCP"] = over_tls(transports["TCP"].pair)
transports["TLS in memory"] = over_tls(transports["a pair in memory"].pair)

return transports
