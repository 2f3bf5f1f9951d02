#!/usr/bin/env bash
# As slurm.sh, through `ray symmetric-run`: shorter, and weaker. It ends with `ray stop`, which ends every Ray of this
# user on the nodes, and it hides a Ray that did not start: the command's status is therefore kept in a file.
#
#   sbatch --nodes=4 cluster/slurm_symmetric_run.sh raykd distill run.yaml cache=/shared/cache --output /shared/runs/NAME
#
# The first RAYKD_TEACHER_NODES nodes (default 1) have places for teachers, the others for students.
#SBATCH --job-name=raykd
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --exclusive
#SBATCH --time=24:00:00
set -euo pipefail

fail() {
    echo "slurm_symmetric_run.sh: $1" >&2
    exit 1
}

[ "$#" -gt 0 ] || fail "no command: sbatch cluster/slurm_symmetric_run.sh raykd distill CONFIG"
[ -n "${SLURM_JOB_NODELIST:-}" ] || fail "not inside a Slurm job: start it with sbatch"

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
count=${#nodes[@]}
[ "$count" -gt 1 ] || fail "one node: use slurm.sh"
export RAYKD_TEACHER_NODES=${RAYKD_TEACHER_NODES:-1}
export RAYKD_CPUS=${SLURM_CPUS_PER_TASK:-1} RAYKD_GPUS=${SLURM_GPUS_ON_NODE:-0}
if [ "$RAYKD_TEACHER_NODES" -lt 1 ] || [ "$RAYKD_TEACHER_NODES" -ge "$count" ]; then
    fail "RAYKD_TEACHER_NODES=$RAYKD_TEACHER_NODES of $count nodes: leave at least one for each role"
fi

# A token of this job alone. It goes from process to process in the environment: others can read command lines.
RAY_AUTH_TOKEN=$(od -An -tx1 -N32 /dev/urandom | tr -d ' \n')
export RAY_AUTH_TOKEN RAY_AUTH_MODE=token
# Ray's files and sockets apart from those of other jobs and users; the path must be short.
export RAY_TMPDIR="${RAYKD_TMPDIR:-/tmp/raykd-${SLURM_JOB_ID:-0}}"
# By default 30 s, within which exactly this number of nodes must be there.
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=${RAYKD_JOIN_TIMEOUT_S:-300}

addresses=$(srun --export=ALL --nodelist="${nodes[0]}" --nodes=1 --ntasks=1 hostname --ip-address) ||
    fail "srun does not run on ${nodes[0]}"
head_ip=$(tr ' ' '\n' <<<"$addresses" | grep -m1 -E '^[0-9]+(\.[0-9]+){3}$') || fail "${nodes[0]} has no IPv4 address"
port=$((20000 + ${SLURM_JOB_ID:-0} % 10000))
export RAYKD_ADDRESS="$head_ip:$port" RAYKD_NODES=$count

# This script and the command run on the first node, so a file of that node will do.
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export RAYKD_STATUS_FILE="$folder/status"

# Once on every node, which differ in their places alone.
# shellcheck disable=SC2016 # expanded on the node, not here
task='
if [ "$SLURM_PROCID" -lt "$RAYKD_TEACHER_NODES" ]; then
    role=teacher slots=$((RAYKD_GPUS > 0 ? RAYKD_GPUS : RAYKD_CPUS))
else
    role=student slots=$RAYKD_CPUS
fi
# Only the head takes an address for its dashboard.
dashboard=()
[ "$SLURM_PROCID" -gt 0 ] || dashboard=(--dashboard-host=127.0.0.1)
exec ray symmetric-run --address "$RAYKD_ADDRESS" --min-nodes "$RAYKD_NODES" --num-cpus="$RAYKD_CPUS" \
    --num-gpus="$RAYKD_GPUS" --labels="raykd-role=$role" --resources="{\"${role}_slot\": $slots}" \
    --disable-usage-stats "${dashboard[@]}" -- \
    bash -c "RAY_ADDRESS=\$RAYKD_ADDRESS \"\$@\"; status=\$?; echo \$status >\"\$RAYKD_STATUS_FILE\"; exit \$status" \
    raykd-command "$@"
'
srun_status=0
srun --export=ALL --nodes="$count" --ntasks="$count" --ntasks-per-node=1 --cpus-per-task="$RAYKD_CPUS" \
    --kill-on-bad-exit=0 --wait=0 bash -c "$task" raykd-task "$@" || srun_status=$?

[ -s "$RAYKD_STATUS_FILE" ] || fail "the command did not run (srun ended with $srun_status): Ray did not start"
exit "$(cat "$RAYKD_STATUS_FILE")"
