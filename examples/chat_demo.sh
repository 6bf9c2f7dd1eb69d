#!/bin/sh
# Starts the chat server, has three people talk through it with nc, and ends it with SIGTERM.
# `>` is what somebody types, `<` what then appears on a screen. Usage: chat_demo.sh [lilac]

bob= # the process of each client; joins sets them
lilac=${1:-${LILAC:-build/lilac}}
dir=$(mktemp -d) || exit 1
pids=
trap 'kill $pids 2>/dev/null; rm -rf "$dir"' EXIT

# sees NAME TEXT: waits until a line with the text is on the screen, and shows it.
sees() {
    left=200
    until grep -qsF "$2" "$dir/$1.screen"; do
        left=$((left - 1))
        [ $left -gt 0 ] || { echo "$1 does not see: $2" >&2; exit 1; }
        sleep 0.05
    done
    printf '%-6s < %s\n' "$1" "$(grep -F "$2" "$dir/$1.screen")"
}

# joins NAME FD: connects somebody, whose keyboard is a pipe that is open as FD.
joins() {
    mkfifo "$dir/$1.keyboard"
    eval "exec $2<>$dir/$1.keyboard"
    nc 127.0.0.1 "$port" <"$dir/$1.keyboard" >"$dir/$1.screen" &
    eval "$1=$!"
    pids="$pids $!"
    sees "$1" "what is your name?"
    types "$1" "$1" "$2"
}

# types NAME TEXT FD
types() {
    printf '%-6s > %s\n' "$1" "$2"
    echo "$2" >&"$3"
}

"$lilac" "$(dirname "$0")/chat.lua" 0 3 >"$dir/server.screen" &
server=$!
pids=$server
sees server "chat on"
port=$(sed -n 's/.* port \([0-9]*\),.*/\1/p' "$dir/server.screen")

joins ann 3 && sees ann "ann is here"
joins bob 4 && sees ann "bob is here"
joins cid 5 && sees bob "cid is here"
types ann "hello everybody" 3 && sees cid "ann: hello"
types cid "good morning" 5 && sees ann "cid: good"
echo "bob    is gone" && kill "$bob" && sees ann "bob has left"
echo "server gets SIGTERM" && kill -TERM "$server"
for name in ann cid; do sees $name "shutting down"; done
sees server "is over"
wait "$server"
echo "server exit status $?"
