#!/usr/bin/env bash
# A Docker engine for EleAgent, the base image that its agents' images stand on, and bubblewrap.
#
#   compose/engine.sh          install (as root, by apt-get), start and fill an engine, as far as each is missing;
#                              for an ordinary user see that bubblewrap is there, which needs none
#   compose/engine.sh socket   print the socket of the engine to use; exit 1 where none answers
#   compose/engine.sh stop     end what this script started, and nothing else
#
# Where nothing answers at /var/run/docker.sock the engine is started there. Where somebody else's engine answers, ours gets
# its own data, socket and network namespace: two engines in one namespace take each other's bridge away.
set -euo pipefail

readonly SYSTEM_SOCKET=/var/run/docker.sock
readonly RUN=/run/eleagent-engine    # sockets, pids and logs of what was started here
readonly DATA=/var/lib/eleagent-engine
readonly OWN_SOCKET=$RUN/docker.sock
readonly SERVICE_MARK=$DATA/service  # the system's service `docker` was installed or started here
readonly BASE=debian:bookworm-slim
readonly BASE_PACKAGES=ca-certificates,git,python3,procps,ripgrep
readonly START_S=60 PULL_S=20

say() { echo "engine: $*" >&2; }
die() { say "$*"; exit 1; }

# Asked with Python, since the docker command may not be there yet.
answers() {
    [ -S "$1" ] && timeout 10 python3 -c '
import socket, sys
with socket.socket(socket.AF_UNIX) as s:
    s.connect(sys.argv[1])
    s.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
    sys.exit(b" 200 OK" not in s.recv(64))' "$1" 2>/dev/null
}

# alive NAME: the process that was started here as NAME still runs. A pid alone could be another's by now.
alive() {
    local pid
    pid=$(cat "$RUN/$1.pid" 2>/dev/null) && tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -q "^$1 .*$RUN"
}

# The socket of an engine that was started here, alive and answering.
own_socket() {
    if alive dockerd; then
        local socket
        socket=$(cat "$RUN/socket")
        answers "$socket" && echo "$socket"
    else
        [ -e "$SERVICE_MARK" ] && answers "$SYSTEM_SOCKET" && echo "$SYSTEM_SOCKET"
    fi
}

usable_socket() {
    own_socket || { answers "$SYSTEM_SOCKET" && echo "$SYSTEM_SOCKET"; }
}

install_packages() {
    local tool missing=()
    for tool in dockerd:docker.io docker:docker.io debootstrap:debootstrap mkfs.ext4:e2fsprogs losetup:mount ip:iproute2 \
        nsenter:util-linux ps:procps tmux:tmux git:git bwrap:bubblewrap strace:strace ssh:openssh-client \
        sshd:openssh-server; do
        command -v "${tool%%:*}" >/dev/null || missing+=("${tool#*:}")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    command -v apt-get >/dev/null || die "missing: ${missing[*]}, and there is no apt-get to install them with"
    say "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${missing[@]}" ca-certificates iptables >"$RUN/apt.log" 2>&1 ||
        { tail -n 20 "$RUN/apt.log" >&2; die "apt-get could not install ${missing[*]} (all of it: $RUN/apt.log)"; }
}

# Without systemd nobody has mounted the control groups.
mount_cgroups() {
    mountpoint -q /sys/fs/cgroup || mount -t cgroup2 cgroup2 /sys/fs/cgroup || die "no control groups at /sys/fs/cgroup"
}

# background NAME COMMAND…: in a session of its own, so that it outlives this terminal; log and pid in $RUN.
background() {
    local name=$1
    shift
    setsid "$@" </dev/null >>"$RUN/$name.log" 2>&1 9>&- &
    echo $! >"$RUN/$name.pid"
}

# await NAME SOCKET: until the engine answers; fails when the process ends or time is up.
await() {
    local until=$((SECONDS + START_S))
    while [ $SECONDS -lt $until ]; do
        answers "$2" && return
        sleep 0.2
        [ -d "/proc/$(cat "$RUN/$1.pid")" ] || return 1
    done
    return 1
}

# start_dockerd SOCKET [PREFIX… --] FLAGS…
start_dockerd() {
    local socket=$1 prefix=()
    shift
    if [[ " $* " == *" -- "* ]]; then
        while [ "$1" != -- ]; do prefix+=("$1"); shift; done
        shift
    fi
    echo "$socket" >"$RUN/socket"
    background dockerd "${prefix[@]}" dockerd --host "unix://$socket" --pidfile "$RUN/engine.pid" "$@"
    await dockerd "$socket"
}

start_system_engine() {
    if answers "$SYSTEM_SOCKET"; then # its package has just started it
        touch "$SERVICE_MARK"
        return
    fi
    say "starting an engine at $SYSTEM_SOCKET"
    if [ "$(cat /proc/1/comm)" = systemd ]; then
        systemctl start docker.service && answers "$SYSTEM_SOCKET" && touch "$SERVICE_MARK" && return
        die "systemd could not start docker.service: see journalctl -u docker"
    fi
    start_dockerd "$SYSTEM_SOCKET" && return
    # A kernel without packet filter has no bridge. Sandboxes have no network anyway.
    say "it did not start; trying without a bridge"
    start_dockerd "$SYSTEM_SOCKET" --iptables=false --bridge=none && return
    tail -n 20 "$RUN/dockerd.log" >&2
    die "dockerd does not start (all of it: $RUN/dockerd.log)"
}

# A network namespace of its own and the machine's mounts: sandboxes bind folders that the launcher prepares there.
start_second_engine() {
    say "another engine answers at $SYSTEM_SOCKET: starting one of our own in a network namespace"
    cat >"$RUN/containerd.toml" <<END
version = 2
root = "$DATA/containerd"
state = "$RUN/containerd"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "$RUN/containerd.sock"
END
    background containerd unshare --net sh -c 'ip link set lo up && exec "$@"' sh containerd --config "$RUN/containerd.toml"
    for _ in $(seq 100); do [ -S "$RUN/containerd.sock" ] && break; sleep 0.1; done
    # Its bridge and packet filter are its namespace's, too: the other engine's are not touched.
    start_dockerd "$OWN_SOCKET" nsenter --net="/proc/$(cat "$RUN/containerd.pid")/ns/net" -- \
        --containerd "$RUN/containerd.sock" --data-root "$DATA/docker" --exec-root "$RUN/docker" && return
    tail -n 20 "$RUN/containerd.log" "$RUN/dockerd.log" >&2
    stop
    die "the second engine does not start (all of it: $RUN/dockerd.log)"
}

has_base() { docker -H "unix://$1" image inspect "$BASE" >/dev/null 2>&1; }

make_base() {
    local socket=$1 root mirror=
    say "pulling $BASE"
    timeout "$PULL_S" docker -H "unix://$socket" pull -q "$BASE" >/dev/null 2>&1 && return
    say "it can't be pulled; making $BASE with debootstrap (about a minute)"
    rm -rf --one-file-system "$DATA"/base.*
    root=$(mktemp -d "$DATA/base.XXXXXX")
    # The mirror that this machine's own apt uses, where it has this release; else debootstrap's.
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Codename: bookworm' | head -n 1)
    debootstrap --variant=minbase --include="$BASE_PACKAGES" bookworm "$root" ${mirror:+"$mirror"} >"$RUN/debootstrap.log" 2>&1 ||
        { tail -n 5 "$RUN/debootstrap.log" >&2; rm -rf "$root"; die "debootstrap failed (all of it: $RUN/debootstrap.log)"; }
    rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
    tar -C "$root" --numeric-owner -c . | docker -H "unix://$socket" import - "$BASE" >/dev/null
    rm -rf "$root"
}

# No root, no engine: an engine's launcher has to be root, so an ordinary user's sandboxes are bubblewrap's.
as_user() {
    local tool missing=()
    for tool in bwrap:bubblewrap git:git; do
        command -v "${tool%%:*}" >/dev/null || missing+=("${tool#*:}")
    done
    [ ${#missing[@]} -eq 0 ] || die "missing: ${missing[*]}: apt-get install ${missing[*]} (as root, once)"
    say "none is needed for $(id -un): sandboxes are made with bubblewrap"
}

up() {
    local socket
    [ "$(id -u)" = 0 ] || { as_user; return; }
    mkdir -p -m 0711 "$RUN" "$DATA"
    exec 9>"$RUN/lock"
    flock 9
    install_packages
    if ! socket=$(own_socket); then
        local start=start_system_engine
        ! answers "$SYSTEM_SOCKET" || start=start_second_engine
        mount_cgroups
        $start
        socket=$(own_socket) || die "the engine was started and is gone again: see $RUN/dockerd.log"
    fi
    has_base "$socket" || make_base "$socket"
    say "$socket"
}

# end NAME: SIGTERM, and SIGKILL to what is still there after 15 s.
end() {
    alive "$1" || { rm -f "$RUN/$1.pid"; return 0; }
    local pid
    pid=$(cat "$RUN/$1.pid")
    kill "$pid"
    for _ in $(seq 150); do [ -d "/proc/$pid" ] || break; sleep 0.1; done
    [ ! -d "/proc/$pid" ] || kill -KILL "$pid"
    rm -f "$RUN/$1.pid"
}

stop() {
    end dockerd
    end containerd
    if [ -e "$SERVICE_MARK" ]; then
        service docker stop
        rm -f "$SERVICE_MARK"
    fi
}

# Run a command where the engine has its network: what a test calls the host's network is the engine's.
enter() {
    if [ "$(usable_socket)" = "$OWN_SOCKET" ] && alive containerd; then
        exec nsenter --net="/proc/$(cat "$RUN/containerd.pid")/ns/net" "$@"
    fi
    exec "$@"
}

case "${1:-up}" in
    up) up ;;
    socket) usable_socket || die "no engine answers: run 'make engine' as root" ;;
    stop) stop ;;
    enter) shift; enter "$@" ;;
    *) die "unknown: $1 (up, socket, enter or stop)" ;;
esac
