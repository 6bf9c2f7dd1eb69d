-- What is measured, and the bounds. A workload has
--   name, folder   the folder holds one program per contender; several workloads may share one
--   title          what a program does
--   count          the first argument of every program; peer_count: that of the peers, 0: no peers
--   argument       the second argument
--   repeats        many short rounds instead of a few long ones; peers join every so many
--   driver         the C program that starts and measures the others, where they cannot do so
--   without        the contenders that cannot do it
--   commands       what follows the interpreter, by contender, where that is no file there
--   metrics        unit: the key under which a program prints its number; per: of what;
--                  of, ratio: lilac's number is at most `ratio` times that of the contender `of`;
--                  max: lilac's number is at most this
-- The contender `of` counts as no peer: it runs the full count.

local function cpu(per, of, ratio)
  return {unit = "ns", per = per, of = of, ratio = ratio}
end

local function queue(bound, ratio)
  return {
    name = "queue-" .. bound, folder = "queue",
    title = "one producer, one consumer, 2M items, bounded " .. bound,
    count = 2000000, peer_count = 200000, argument = bound,
    metrics = {cpu("item", "limit", ratio)},
  }
end

local function timeout(name, title, waits, ratio)
  return {
    name = name, folder = "timeout", title = title,
    count = 200000, peer_count = 50000, argument = waits,
    metrics = {cpu("wait", "cqueues", ratio)},
  }
end

local function sleepers(name, count, repeats, peer_count)
  return {
    name = "sleepers-" .. name, folder = "sleepers",
    title = name .. " tasks sleep 0 to 2 s, created at once",
    count = count, peer_count = peer_count, repeats = repeats,
    metrics = {
      cpu("task", "limit", 1.3),
      {unit = "bytes", per = "task, peak", of = "limit", ratio = 1.25},
    },
  }
end

local function echo(bytes, ratio)
  return {
    name = "echo-" .. bytes, folder = "echo",
    title = "TCP echo server, 50 connections, messages of " .. bytes .. " bytes",
    count = 15000, peer_count = 50000, argument = bytes .. " tcp", driver = "client", repeats = 12,
    metrics = {{unit = "us", per = "message", of = "limit", ratio = ratio}},
  }
end

local function udp(bytes, ratio)
  return {
    name = "udp-" .. bytes, folder = "udp",
    title = "UDP echo, server and 50 clients in one process, datagrams of " .. bytes .. " bytes",
    count = 50000, peer_count = 20000, argument = bytes, repeats = 4,
    metrics = {{unit = "us", per = "exchange", of = "limit", ratio = ratio}},
  }
end

local function echo_unix(bytes, ratio)
  return {
    name = "echo-unix-" .. bytes, folder = "echo", without = {copas = true},
    title = "Unix-socket echo server, 50 connections, messages of " .. bytes .. " bytes",
    count = 15000, peer_count = 50000, driver = "client", repeats = 12,
    argument = bytes .. " /tmp/lilac-bench-echo.sock",
    metrics = {{unit = "us", per = "message", of = "limit", ratio = ratio}},
  }
end

local function echo_tls(bytes, ratio)
  return {
    name = "tls-" .. bytes, folder = "tls",
    title = "TLS echo server, 50 connections, messages of " .. bytes .. " bytes",
    count = 50000, peer_count = 50000, argument = bytes, driver = "client", repeats = 4,
    metrics = {{unit = "us", per = "message", of = "limit", ratio = ratio}},
  }
end

-- The servers of the echo benchmarks; `metric` has the bound.
local function idle(kind, folder, metric)
  local commands = {limit = "build/bench/" .. folder .. "/limit"}
  for contender, file in pairs {lilac = "lilac.lua", asyncio = "python.py", node = "node.js"} do
    commands[contender] = "bench/" .. folder .. "/" .. file
  end
  metric.unit, metric.per, metric.of = "bytes", "connection", "limit"
  return {
    name = "idle-" .. kind, folder = "idle", driver = "client", argument = kind,
    title = "memory of an echo server for 800 connections that are silent, over " .. kind,
    count = 800, peer_count = 800, commands = commands, metrics = {metric},
  }
end

-- The time on the wall as well: the pool reads while the program computes.
local function file(kind, title, per, count, ratio)
  return {
    name = "file-" .. kind, folder = "file", title = title,
    count = count, peer_count = count, argument = kind, driver = "files",
    metrics = {
      {unit = "wall", per = per, of = "limit", ratio = ratio},
      {unit = "cpu", per = per, of = "limit"},
    },
  }
end

local function thread(in_flight, count, ratio)
  return {
    name = "thread-" .. in_flight, folder = "thread",
    title = "an empty function in a thread, " .. in_flight .. " in flight; limit: libuv's pool",
    count = count, peer_count = count // 10, argument = in_flight, repeats = 2,
    metrics = {{unit = "ns", per = "round trip", of = "limit", ratio = ratio}},
  }
end

local function cores(kind, title)
  return {
    name = "cores-" .. kind, folder = "cores", driver = "client", argument = kind,
    title = title .. " with two workers; limit: the same with one",
    count = 1000000,
    commands = {
      limit = "build/lilac bench/cores/lilac.lua 1 " .. kind,
      lilac = "bench/cores/lilac.lua 2 " .. kind,
    },
    metrics = {
      {unit = "ns", per = "line", of = "limit", ratio = 0.556},
      {unit = "percent", per = "core, for the client", of = "limit", max = 20},
    },
  }
end

return {
  {
    name = "switch", folder = "switch", title = "two tasks, sleep(0), 2M switches in all",
    count = 2000000, peer_count = 200000, repeats = 3,
    metrics = {cpu("switch", "limit", 1.4)},
  },
  {
    name = "spawn", folder = "spawn", title = "spawn and gather 1M short tasks, 1000 at a time",
    count = 1000000, peer_count = 200000,
    metrics = {cpu("task", "limit", 1.2)},
  },
  queue(1000, 2.2),
  queue(1, 1.2),
  {
    name = "semaphore", folder = "semaphore",
    title = "10k tasks, 10 permits, 20 acquires each, sleep(0) inside",
    count = 10000,
    metrics = {cpu("acquire", "cqueues", 0.4)},
  },
  {
    name = "cancel", folder = "cancel", title = "cancel and join 200k sleeping tasks",
    count = 200000, peer_count = 50000, repeats = 5,
    metrics = {cpu("task", "limit", 2)},
  },
  timeout("timeout", "200k tasks wait once each under timeout(0.001)", 1, 0.45),
  timeout("timeout-again", "1000 tasks wait 200 times each under timeout(0.001)", 200),
  sleepers("100k", 100000, 3),
  sleepers("1M", 1000000, 1, 0),
  echo(64, 1.08),
  echo(1024, 1.12),
  echo(16384, 1.3),
  udp(64, 1.2),
  udp(1024, 1.2),
  {
    name = "connect", folder = "connect",
    title = "50 clients connect, wait for the server to close, and connect again, in one process",
    count = 10000, peer_count = 5000, repeats = 4,
    metrics = {{unit = "us", per = "connection", of = "limit", ratio = 1.5}},
  },
  echo_unix(64, 1.25),
  echo_unix(1024, 1.3),
  echo_unix(16384, 1.5),
  echo_tls(64, 1.25),
  echo_tls(1024, 1.25),
  echo_tls(16384, 1.25),
  echo_tls(65536, 1.25),
  {
    name = "tls-handshake", folder = "tls", title = "TLS server, connections opened and closed",
    count = 2000, peer_count = 2000, argument = 0, driver = "client", repeats = 4,
    metrics = {{unit = "us", per = "connection", of = "limit", ratio = 1.25}},
  },
  idle("tcp", "echo", {max = 4500}),
  idle("tls", "tls", {ratio = 0.75}),
  file("chunks", "a file of 1 GiB in the page cache, 64 KiB at a time", "MiB, us", 1024, 3),
  file("lines", "a file of 256 MiB in the page cache, line by line", "line, ns", 256, 2),
  file("small", "50k files of 4 KiB, whole, 16 at a time", "file, us", 50000, 0.7),
  {
    name = "process", folder = "process", title = "start and wait for 1000 processes, 8 at a time",
    count = 1000, peer_count = 1000,
    metrics = {{unit = "us", per = "process, wall time", of = "limit", ratio = 1.1}},
  },
  {
    name = "fib", folder = "fib", title = "four calls of fib(32) in two threads",
    count = 4, metrics = {{unit = "ms", per = "run", of = "limit", ratio = 1.1}},
  },
  thread(1, 50000, 1.5),
  thread(64, 300000, 1.7),
  {
    name = "channel", folder = "channel",
    title = "numbers from thread to thread, bounded 1024; limit: a ring in C",
    count = 500000, peer_count = 200000, argument = 1024,
    metrics = {{unit = "ns", per = "item", of = "limit"}},
  },
  cores("echo", "a server that echoes lines,"),
  cores("request", "a server that answers requests,"),
  {
    name = "startup", folder = "startup", title = "an empty program, from spawn to exit",
    count = 200, peer_count = 20, driver = "spawn",
    commands = {
      limit = "lua5.4 -e ''", lilac = "-e ''", asyncio = "-c 'import asyncio'", node = "-e ''",
    },
    metrics = {
      {unit = "ms", per = "run", of = "limit", ratio = 1.3},
      {unit = "MiB", per = "process, peak", of = "limit", max = 4},
    },
  },
}
