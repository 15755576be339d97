#!/usr/bin/env bash
# Workers of one study on this machine, without a service manager: one process a core, one thread each.
#
#   scripts/local_workers.sh STUDY [-n COUNT] [-o DIR] [-- more options of 'nibble worker']
#
# STUDY is a folder of 'nibble autoq', a study.db or postgresql://USER@HOST/DATABASE?study=NAME; with the last, DIR is
# where the files of the trials go. A worker that is killed is started again; Ctrl-C or SIGTERM lets each put its trial
# back and ends them all. NIBBLE names the program (default: nibble).
set -u

usage() {
  sed -n '2,/^set/p' "$0" | grep '^#' | cut -c3- >&2
  exit 2
}

study=${1:-}
[ -n "$study" ] || usage
case $study in -*) usage ;; esac
shift
count=$(nproc)
options=()
while [ $# -gt 0 ]; do
  case $1 in
    -n) count=${2:-}; shift 2 || usage ;;
    -o) options+=(--output "${2:-}"); shift 2 || usage ;;
    --) shift; options+=("$@"); break ;;
    *) usage ;;
  esac
done
case $count in '' | *[!0-9]* | 0) echo "$0: -n must be a number above 0, not '$count'." >&2; exit 2 ;; esac

# The math libraries read these while they are loaded.
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1

stopping=0
failed=0
declare -A fruitless=() # slot -> times in a row that it ended with an error
declare -A slot_of=()   # process -> slot

start() { # SLOT
  [ $stopping = 0 ] || return 0
  "${NIBBLE:-nibble}" worker --study "$study" "${options[@]}" &
  slot_of[$!]=$1
  # A signal between the fork and the line above did not know of this process yet.
  [ $stopping = 0 ] || kill -TERM $! 2>/dev/null
}

stop_all() {
  stopping=1
  kill -TERM "${!slot_of[@]}" 2>/dev/null
}
trap stop_all INT TERM

has_ended() { # PROCESS CODE
  local slot=${slot_of[$1]}
  unset "slot_of[$1]"
  [ $stopping = 0 ] || return 0
  if [ "$2" -gt 128 ] && [ "$2" != 130 ]; then # killed: its trial goes on from its checkpoint
    start "$slot"
  elif [ "$2" != 0 ]; then # an error of its own: it said why
    fruitless[$slot]=$((${fruitless[$slot]:-0} + 1))
    if [ "${fruitless[$slot]}" -lt 2 ]; then start "$slot"; else failed=1; fi
  fi
}

# Those that ended while no 'wait' looked: 'wait -n' knows them no more and waits for the others, 'wait PROCESS' still
# has their code.
reap_unseen() {
  local process
  for process in "${!slot_of[@]}"; do
    kill -0 "$process" 2>/dev/null && continue
    wait "$process" 2>/dev/null
    has_ended "$process" $?
  done
}

for ((slot = 0; slot < count; ++slot)); do start "$slot"; done
while reap_unseen; [ ${#slot_of[@]} -gt 0 ]; do
  ended=
  # A signal interrupts this without a process having ended; then 'ended' stays empty.
  wait -n -p ended "${!slot_of[@]}" 2>/dev/null
  code=$?
  [ -z "${ended:-}" ] || has_ended "$ended" $code
done
[ $stopping = 1 ] && exit 130
exit $failed
