#!/usr/bin/env bash
# Starts a Ray cluster on this machine, to try things before you use a real cluster. Needs Linux.
#
#   cluster/local.sh up [--nodes N] [--cpus C]     start N nodes with C CPUs each; wait until ready
#   cluster/local.sh submit tune jobs/studies/digits.toml
#   cluster/local.sh submit list                   also: status, logs, stop; --help
#   cluster/local.sh status
#   cluster/local.sh env                           for: eval "$(cluster/local.sh env)"
#   cluster/local.sh down                          end the cluster and everything that runs in it
#
# The cluster listens on loopback only and asks for a token, which each `up` makes anew. Its state is
# in the folder $FFNET_LOCAL [~/.local/state/ffnet/local]. Set FFNET_LOCAL to another folder to run a
# second cluster. Exit status: 0 for success; 1 if the cluster does not start or is not up; 2 for bad
# input.
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

# When a process started. Number and start time together name a process: numbers are used again.
born() { # PID
  local stat
  { stat=$(<"/proc/$1/stat"); } 2>/dev/null || return 0
  read -ra stat <<<"${stat##*) }"
  [[ ${stat[0]} == Z ]] || echo "${stat[19]}"
}

# All processes of this cluster, as "PID BIRTH": those that have the cluster's mark in their
# environment, and their descendants, because some of Ray's processes overwrite their environment.
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

# Prints those "PID BIRTH" lines whose processes still live.
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

# Lock the state folder: two commands at the same time would start two clusters.
hold() {
  while true; do
    mkdir -p "$state"
    # `load` runs the file `cluster` in this folder, so no other user may be able to write it.
    [[ -O $state ]] || die 1 "the state folder must be yours. Given: $state; set FFNET_LOCAL"
    chmod 700 "$state"
    exec 9<"$state"
    flock 9
    [[ $state -ef /dev/fd/9 ]] && return # else a `down` has just removed the folder: try again
  done
}

forget() {
  mark='' temp='' dashboard='' address='' nodes=''
}

# Read the state. Returns true if the cluster is up.
load() {
  forget
  [[ -O $state && -O $state/cluster ]] || return 1 # never run a file that another user wrote
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

# `ray start` takes 127.0.0.1 for "this machine's address" and listens on all addresses. Ray has a
# setting against that, for laptops, but refuses further nodes if it reads this setting. So it is
# set here after `ray start` has read it: only for the processes that `ray start` starts.
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
  # `--block`: the command keeps running. When it ends or a part of the node dies, the node ends.
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

# Prints how many nodes the head counts, or nothing while the head does not answer.
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
    clear_away # the remains of a cluster that died, or of a machine that was switched off
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
      # Another folder than the head's: in a shared folder, Ray deleted the code of a running job.
      start_node --address="127.0.0.1:$port" --temp-dir="$temp/$i"
      wait_for_nodes "$i" # one by one: nodes that start at the same time disturb each other
    done
    address=127.0.0.1:$port
    save
    trap - EXIT
    echo "up: $count node(s), dashboard http://$dashboard (with the token in $state/token)"
  fi
  cat <<NEXT
next:  cluster/local.sh submit tune jobs/studies/digits.toml
       eval "\$(cluster/local.sh env)"     then any command of Ray, in this shell
       cluster/local.sh down
NEXT
}

# --- the other commands --------------------------------------------------------------------------

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
  rmdir -- "$state" 2>/dev/null || true # the user may keep other files there
  echo "down"
}

status() {
  load || { echo "down" && exit 1; }
  echo "up: $(alive || echo 0) of $(wc -l <<<"$nodes") node(s) answer, dashboard http://$dashboard"
  exports
  exec "$python" "$root/jobs/submit.py" list
}

# Set the environment that clients of the cluster need. It has the token's path, never the token.
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
