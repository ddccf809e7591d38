#!/usr/bin/env bash
# A Ray cluster on this machine, to try what runs on a real one later. For Linux.
#
#   cluster/local.sh up [--nodes N] [--cpus C]     start it, and wait until it is ready
#   cluster/local.sh submit tune jobs/studies/digits.toml
#   cluster/local.sh submit list                   also: status, logs, stop; --help
#   cluster/local.sh status
#   cluster/local.sh env                           for: eval "$(cluster/local.sh env)"
#   cluster/local.sh down                          end it, with all that runs in it
#
# It listens on loopback only and asks everyone for a token that is made for it alone. Its state is
# in $FFNET_LOCAL [~/.local/state/ffnet/local]; with another folder there, a second cluster runs
# beside it. Exit status: 0; 1 when it does not start or is not up; 2 for bad input.
set -euo pipefail
umask 077

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=$root/.venv/bin/python
state=${FFNET_LOCAL:-${XDG_STATE_HOME:-$HOME/.local/state}/ffnet/local}
[[ $state == /* ]] || state=$PWD/$state

die() { # STATUS MESSAGE…
  echo "error: ${*:2}" >&2
  exit "$1"
}

# --- processes -----------------------------------------------------------------------------------

# When a process started: with its number, a name that the system does not give again.
born() { # PID
  local stat
  { stat=$(<"/proc/$1/stat"); } 2>/dev/null || return 0
  read -ra stat <<<"${stat##*) }"
  [[ ${stat[0]} == Z ]] || echo "${stat[19]}"
}

# All processes of this cluster, as "PID BIRTH": those that have its mark in their environment, and
# what they started, for some of Ray's overwrite theirs.
members() {
  local pid
  { grep -lzxF "FFNET_LOCAL_CLUSTER=$mark" /proc/[0-9]*/environ 2>/dev/null || true; } \
    | cut -d/ -f3 \
    | awk 'NR == FNR { parent[$1] = $2; next } { ours[$1] }
        END {
          do {
            grown = 0
            for (p in parent) if (parent[p] in ours && !(p in ours)) { ours[p]; grown = 1 }
          } while (grown)
          for (p in ours) print p
        }' <(ps -e -o pid=,ppid=) - \
    | while read -r pid; do echo "$pid $(born "$pid")"; done
}

# Those of the given "PID BIRTH" lines that still live.
living() { # LINES
  local pid birth
  while read -r pid birth; do
    [[ -z $birth || $(born "$pid") != "$birth" ]] || echo "$pid $birth"
  done <<<"$1"
}

kill_all() { # SIGNAL LINES
  local pid _
  while read -r pid _; do
    [[ -z $pid ]] || kill -s "$1" "$pid" 2>/dev/null || true
  done <<<"$(living "$2")"
}

# --- state ---------------------------------------------------------------------------------------

# Hold the state folder: two commands at a time would start two clusters.
hold() {
  while true; do
    mkdir -p "$state"
    # Others could put a `cluster` of theirs into an open folder, and it is run here.
    [[ -O $state ]] || die 1 "the state folder must be yours. Given: $state; set FFNET_LOCAL"
    chmod 700 "$state"
    exec 9<"$state"
    flock 9
    [[ $state -ef /dev/fd/9 ]] && return # not removed by a `down` meanwhile
  done
}

forget() {
  mark='' temp='' dashboard='' address='' nodes=''
}

# Read the state; true when the cluster is up.
load() {
  forget
  [[ -O $state && -O $state/cluster ]] || return 1 # it is run: never what somebody else wrote
  # shellcheck source=/dev/null
  . "$state/cluster"
  [[ -n $address && $(living "$nodes" | wc -l) == $(wc -l <<<"$nodes") ]]
}

save() {
  printf '%s=%q\n' mark "$mark" temp "$temp" dashboard "$dashboard" address "$address" \
    nodes "$nodes" >"$state/cluster"
}

# --- up ------------------------------------------------------------------------------------------

free_ports() { # COUNT
  "$python" -c '
import socket, sys
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(sys.argv[1]))]
print(*(s.getsockname()[1] for s in held))' "$1"
}

# `ray start` takes 127.0.0.1 for "this machine's address" and listens on all of them; Ray has a
# switch against that, for laptops, but with it refuses further nodes. So here it is thrown after
# Ray has read it: for all that this process starts.
on_loopback='
import os
from ray._private import services
from ray.scripts.scripts import cli
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
services.node_ip_address_from_perspective = lambda *_: "127.0.0.1"
cli()'

start_node() { # `ray start`'s ARGUMENTS…
  local memory
  memory=$(awk -v n="$count" '/MemAvailable/ { printf "%d", $2 * 1024 * 0.3 / n }' /proc/meminfo)
  # `--block`: the command stays, and takes its node down when it ends or a part of the node dies.
  env -u RAY_ADDRESS -u RAY_API_SERVER_ADDRESS -u RAY_AUTH_TOKEN -u RAY_TMPDIR \
    FFNET_LOCAL_CLUSTER="$mark" PATH="$root/.venv/bin:$PATH" \
    RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$state/token" RAY_USAGE_STATS_ENABLED=0 \
    RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=0 \
    setsid "$python" -c "$on_loopback" start --block --node-ip-address=127.0.0.1 \
    --dashboard-agent-listen-port=0 --min-worker-port=0 --max-worker-port=0 \
    --object-store-memory="$memory" ${cpus:+"--num-cpus=$cpus"} "$@" \
    </dev/null >>"$state/ray.log" 2>&1 9>&- &
  nodes+=${nodes:+$'\n'}"$! $(born $!)"
  save
}

# The nodes that the head counts; nothing while it does not answer.
alive() {
  "$python" - "http://$dashboard" "$state/token" <<'PYTHON' 2>/dev/null
import json, pathlib, sys, urllib.request
url, token = sys.argv[1], pathlib.Path(sys.argv[2]).read_text()
asked = urllib.request.Request(f"{url}/nodes?view=summary", headers={"Authorization": f"Bearer {token}"})
direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
nodes = json.load(direct.open(asked, timeout=10))["data"]["summary"]
print(sum(node["raylet"]["state"] == "ALIVE" for node in nodes))
PYTHON
}

wait_for_nodes() { # COUNT
  local end=$((SECONDS + 120))
  until [[ $(alive) == "$1" ]]; do
    [[ $(living "$nodes" | wc -l) == $(wc -l <<<"$nodes") ]] || give_up "a node ended"
    ((SECONDS < end)) || give_up "not ready after 120 s"
    sleep 0.3
  done
}

give_up() { # REASON
  tail -n 20 "$state/ray.log" >&2
  die 1 "the cluster did not start: $1; Ray's last words are above"
}

up() {
  local port board client
  count=1 cpus=''
  while (($#)); do
    case $1 in
      --nodes) count=${2:-} ;;
      --cpus) cpus=${2:-} ;;
      *) die 2 "unknown argument. Given: $1; up takes --nodes N and --cpus C" ;;
    esac
    [[ ${2:-} =~ ^[1-9][0-9]*$ ]] || die 2 "$1 must be a whole number above 0. Given: ${2:-nothing}"
    shift 2
  done
  [[ -x $root/.venv/bin/ray ]] || make -C "$root" setup
  hold
  if load; then
    echo "already up: $(wc -l <<<"$nodes") node(s)"
  else
    clear_away # what a machine that went off, or a head that died, left
    trap clear_away EXIT
    mark=$("$python" -c 'import secrets; print(secrets.token_hex(16))')
    temp=$(mktemp -d /tmp/ffnet-XXXXXX) # short: a socket's path has at most 107 bytes
    "$python" -c 'import secrets; print(secrets.token_hex(32), end="")' >"$state/token"
    read -r port board client <<<"$(free_ports 3)"
    dashboard=127.0.0.1:$board
    start_node --head --port="$port" --temp-dir="$temp/1" --ray-client-server-port="$client" \
      --dashboard-host=127.0.0.1 --dashboard-port="$board"
    wait_for_nodes 1
    for ((i = 2; i <= count; i++)); do
      # Not in the head's folder: seen there, a running job's code was deleted under it.
      start_node --address="127.0.0.1:$port" --temp-dir="$temp/$i"
      wait_for_nodes "$i" # one by one: two that start at a time get into each other's way
    done
    address=127.0.0.1:$port
    save
    trap - EXIT
    echo "up: $count node(s), dashboard http://$dashboard (with the token in $state/token)"
  fi
  cat <<NEXT
next:  cluster/local.sh submit tune jobs/studies/digits.toml
       eval "\$(cluster/local.sh env)"     then any other command of Ray's, in this shell
       cluster/local.sh down
NEXT
}

# --- the others ----------------------------------------------------------------------------------

# End all processes of the cluster in the state folder, then remove its files.
clear_away() {
  local all end
  load || true
  if [[ -n $mark ]]; then
    all=$(members)
    kill_all TERM "$nodes"
    end=$((SECONDS + 20))
    while [[ -n $(living "$all") ]] && ((SECONDS < end)); do sleep 0.2; done
    kill_all KILL "$all"$'\n'"$(members)"
  fi
  [[ $temp != /tmp/ffnet-* ]] || rm -rf -- "$temp"
  rm -f -- "$state"/{token,cluster,ray.log}
  forget
}

down() {
  if [[ ! -d $state ]]; then
    echo "down"
    return
  fi
  hold
  clear_away
  rmdir -- "$state" 2>/dev/null || true # somebody else's file may lie there
  echo "down"
}

status() {
  load || { echo "down" && exit 1; }
  echo "up: $(alive || echo 0) of $(wc -l <<<"$nodes") node(s) answer, dashboard http://$dashboard"
  exports
  exec "$python" "$root/jobs/submit.py" list
}

# The environment that clients of the cluster need: a path, never the token itself.
exports() {
  unset RAY_AUTH_TOKEN
  export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$state/token
  export RAY_ADDRESS=$address RAY_API_SERVER_ADDRESS=http://$dashboard
  export RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0 # as for the nodes
}

print_env() {
  load || die 1 "no local cluster is up: cluster/local.sh up"
  exports
  echo "unset RAY_AUTH_TOKEN"
  for name in RAY_AUTH_MODE RAY_AUTH_TOKEN_PATH RAY_ADDRESS RAY_API_SERVER_ADDRESS \
    RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER; do
    printf 'export %s=%q\n' "$name" "${!name}"
  done
}

submit() {
  load || die 1 "no local cluster is up: cluster/local.sh up"
  exports
  case ${1:-} in
    '' | -* | list | status | logs | stop) ;;
    *) set -- -- "$@" ;;
  esac
  exec "$python" "$root/jobs/submit.py" "$@"
}

case ${1:-} in
  up | submit | status | down) "$@" ;;
  env) print_env ;;
  -h | --help) sed -n '2,/^set/{/^set/d; s/^# \{0,1\}//; p}' "${BASH_SOURCE[0]}" ;;
  *) die 2 "the first word must be up, submit, status, env or down. Given: ${1:-nothing}" ;;
esac
