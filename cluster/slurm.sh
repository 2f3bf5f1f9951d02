#!/usr/bin/env bash
# A Ray cluster on the nodes of a Slurm job, and one command on it:
#
#   sbatch --nodes=4 cluster/slurm.sh raykd distill run.yaml cache=/shared/cache --output /shared/runs/NAME
#
# The first RAYKD_TEACHER_NODES nodes (default 1) have places for teachers (`teacher_slot`, label raykd-role=teacher),
# the others for students (`student_slot`, label raykd-role=student); a single node has both. The first node is the head
# too, and runs the command. Ends with the command's status, or with 1 where the cluster did not start, a node did not
# join within RAYKD_JOIN_TIMEOUT_S (default 300) or the head ended before the command.
#SBATCH --job-name=raykd
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --exclusive
#SBATCH --time=24:00:00
# SIGTERM five minutes before the end: a run saves a checkpoint, and the same command goes on from it.
#SBATCH --signal=B:TERM@300
set -euo pipefail

fail() {
    echo "slurm.sh: $1" >&2
    exit 1
}

[ "$#" -gt 0 ] || fail "no command: sbatch cluster/slurm.sh raykd distill CONFIG"
[ -n "${SLURM_JOB_NODELIST:-}" ] || fail "not inside a Slurm job: start it with sbatch"

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
[ "${#nodes[@]}" -gt 0 ] || fail "scontrol names no nodes"
teacher_nodes=${RAYKD_TEACHER_NODES:-1}
join_timeout_s=${RAYKD_JOIN_TIMEOUT_S:-300}
cpus=${SLURM_CPUS_PER_TASK:-1}
gpus=${SLURM_GPUS_ON_NODE:-0}
if [ "$teacher_nodes" -lt 1 ] || { [ "${#nodes[@]}" -gt 1 ] && [ "$teacher_nodes" -ge "${#nodes[@]}" ]; }; then
    fail "RAYKD_TEACHER_NODES=$teacher_nodes of ${#nodes[@]} nodes: leave at least one for each role"
fi

# A token of this job alone. It goes from process to process in the environment: others can read command lines.
RAY_AUTH_TOKEN=$(od -An -tx1 -N32 /dev/urandom | tr -d ' \n')
export RAY_AUTH_TOKEN RAY_AUTH_MODE=token
# Ray's files and sockets apart from those of other jobs and users; the path must be short.
export RAY_TMPDIR="${RAYKD_TMPDIR:-/tmp/raykd-${SLURM_JOB_ID:-0}}"

# Always in a subshell, which srun takes the place of: a signal to it is then one to srun.
step() { # NODES, comma-separated, and a command: once on each of them
    local list=$1 count
    count=$(tr ',' '\n' <<<"$list" | wc -l)
    shift
    # Slurm does not hand --cpus-per-task on to srun; one lost node must not end the others.
    exec srun --export=ALL --nodelist="$list" --nodes="$count" --ntasks="$count" --ntasks-per-node=1 \
        --cpus-per-task="$cpus" --kill-on-bad-exit=0 --wait=0 "$@"
}

joined() { # NODE NODE … → comma-separated
    local IFS=,
    echo "$*"
}

head=${nodes[0]}
# The first IPv4 address: a host may have several, and IPv6 ones too.
addresses=$(step "$head" hostname --ip-address) || fail "srun does not run on $head"
head_ip=$(tr ' ' '\n' <<<"$addresses" | grep -m1 -E '^[0-9]+(\.[0-9]+){3}$') || fail "$head has no IPv4 address"
# Below the ports that Linux hands out and above those of Ray's workers; differs between jobs on one machine.
port=$((20000 + ${SLURM_JOB_ID:-0} % 10000))
export RAY_ADDRESS="$head_ip:$port"

teacher_slots="\"teacher_slot\": $((gpus > 0 ? gpus : cpus))"
student_slots="\"student_slot\": $cpus"
head_slots=$teacher_slots
if [ "${#nodes[@]}" -eq 1 ]; then
    head_slots="$teacher_slots, $student_slots"
fi
common=(--num-cpus="$cpus" --num-gpus="$gpus" --disable-usage-stats --block)

started=()
command_pid=
# shellcheck disable=SC2329 # called by the trap
stop() {
    local pid
    for pid in "${started[@]}"; do
        kill -TERM "$pid" 2>/dev/null || true
    done
    wait || true
}
trap stop EXIT
# scancel, or the end of the time: the command is asked to save, and its status is waited for.
# shellcheck disable=SC2329 # called by the trap
interrupted() {
    [ -n "$command_pid" ] || exit 143
    kill -TERM "$command_pid" 2>/dev/null || true
}
trap interrupted TERM

# Waits until so many nodes are alive, in a driver of its own.
alive='
import sys, time
import ray
wanted, seconds = int(sys.argv[1]), float(sys.argv[2])
deadline = time.monotonic() + seconds
while time.monotonic() < deadline:
    try:
        if not ray.is_initialized():
            ray.init(log_to_driver=False, logging_level="ERROR")
        if sum(node["Alive"] for node in ray.nodes()) >= wanted:
            sys.exit(0)
    except (ConnectionError, RuntimeError):
        ray.shutdown()
    time.sleep(1)
sys.exit(1)
'
wait_for_nodes() { # HOW MANY
    local waiter pid
    python3 -c "$alive" "$1" "$join_timeout_s" &
    waiter=$!
    while kill -0 "$waiter" 2>/dev/null; do
        for pid in "${started[@]}"; do
            if ! kill -0 "$pid" 2>/dev/null; then
                kill "$waiter" 2>/dev/null || true
                fail "Ray ended on a node before all $1 had joined"
            fi
        done
        sleep 0.2
    done
    wait "$waiter" || fail "not all $1 nodes joined within $join_timeout_s s"
}

start_workers() { # ROLE SLOTS NODE …
    local role=$1 slots=$2
    shift 2
    [ "$#" -gt 0 ] || return 0
    step "$(joined "$@")" ray start --address="$RAY_ADDRESS" --labels="raykd-role=$role" \
        --resources="{$slots}" "${common[@]}" &
    started+=("$!")
}

step "$head" ray start --head --node-ip-address="$head_ip" --port="$port" --dashboard-host=127.0.0.1 \
    --labels="raykd-role=teacher" --resources="{$head_slots}" "${common[@]}" &
head_pid=$!
started+=("$head_pid")
wait_for_nodes 1
start_workers teacher "$teacher_slots" "${nodes[@]:1:teacher_nodes-1}"
start_workers student "$student_slots" "${nodes[@]:teacher_nodes}"
wait_for_nodes "${#nodes[@]}"

"$@" &
command_pid=$!
while kill -0 "$command_pid" 2>/dev/null; do
    if ! kill -0 "$head_pid" 2>/dev/null; then
        kill -TERM "$command_pid" 2>/dev/null || true
        wait "$command_pid" || true
        fail "the head ended before the command"
    fi
    sleep 0.2
done
status=0
wait "$command_pid" || status=$?
exit "$status"
