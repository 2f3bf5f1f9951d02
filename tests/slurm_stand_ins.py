"""Slurm's and Ray's commands as small programs on PATH, so that the scripts of cluster/ run for real without either."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

SCRIPTS = Path(__file__).parents[1] / "cluster"

RECORD = 'printf "%s\\n" "$(basename "$0") $*" >>"$STATE/commands"\n'
"""First in each stand-in: its whole command line, as `ps` would show it to others."""

SCONTROL = 'tr "," "\\n" <<<"$3"\n'
HOSTNAME = 'echo "fe80::1 $NODE_IP 10.0.0.9"\n'
# Once on each node, in the background; SIGTERM is handed on, as srun does with signals.
SRUN = r"""
list=$SLURM_JOB_NODELIST
while [[ "$1" == --* ]]; do
    [[ "$1" == --nodelist=* ]] && list=${1#--nodelist=}
    shift
done
IFS=, read -ra names <<<"$list"
pids=()
trap 'kill -TERM "${pids[@]}" 2>/dev/null' TERM
for k in "${!names[@]}"; do
    NODE=${names[k]} SLURM_PROCID=$k "$@" &
    pids+=("$!")
done
status=0
for pid in "${pids[@]}"; do
    # A trapped signal ends `wait` before the child does.
    while kill -0 "$pid" 2>/dev/null; do wait "$pid" || status=$?; done
done
exit "$status"
"""
# `ray start --block` lives until SIGTERM or until a file $STATE/end/NODE is there. `ray symmetric-run` has status 0
# although the head did not start, as the real one has.
RAY = r"""
mkdir -p "$STATE/alive" "$STATE/tokens"
printf "%s %s" "$RAY_AUTH_MODE" "$RAY_AUTH_TOKEN" >"$STATE/tokens/$NODE"
if [ "$1" = symmetric-run ]; then
    [ ! -e "$STATE/refuse/node0" ] || exit 0
    touch "$STATE/alive/$NODE"
    if [ "$SLURM_PROCID" = 0 ]; then
        until [ "$(ls "$STATE/alive" | wc -l)" = "$RAYKD_NODES" ]; do sleep 0.02; done
        while [ "$1" != -- ]; do shift; done
        shift
        "$@"
        status=$?
        touch "$STATE/over"
        exit "$status"
    fi
    until [ -e "$STATE/over" ]; do sleep 0.02; done
    exit 0
fi
[ ! -e "$STATE/refuse/$NODE" ] || exit 1
[ ! -e "$STATE/absent/$NODE" ] && touch "$STATE/alive/$NODE"
trap 'rm -f "$STATE/alive/$NODE"; exit 0' TERM
until [ -e "$STATE/end/$NODE" ]; do sleep 0.05; done
rm -f "$STATE/alive/$NODE"
exit 1
"""
RAYKD = r"""
ls "$STATE/alive" | wc -l >"$STATE/alive_at_start"
echo "$RAY_ADDRESS" >"$STATE/address"
trap 'echo saved >"$STATE/saved"; exit 130' TERM
if [ -e "$STATE/work" ]; then
    touch "$STATE/working"
    while true; do sleep 0.05; done
fi
exit "${COMMAND_STATUS:-0}"
"""
# What slurm.sh's own driver asks of Ray.
RAY_MODULE = """
import os

def is_initialized(): return False
def init(**options): pass
def shutdown(): pass

def nodes():
    folder = os.path.join(os.environ["STATE"], "alive")
    return [{"Alive": True} for _ in (os.listdir(folder) if os.path.isdir(folder) else [])]
"""


@dataclass
class SlurmJob:
    """A Slurm job of some nodes, all of them stand-ins.

    Attributes:
        folder: of this job; `folder / "state"` is what the stand-ins share.
        variables: of the environment, beside those that Slurm sets.
        started: the scripts' processes.
    """

    folder: Path
    nodes: int
    real_ray: bool = False
    variables: dict[str, str] = field(default_factory=dict)
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        programs = {"scontrol": SCONTROL, "srun": SRUN, "hostname": HOSTNAME}
        if not self.real_ray:
            programs |= {"ray": RAY, "raykd": RAYKD}
            (self.folder / "modules").mkdir()
            (self.folder / "modules" / "ray.py").write_text(RAY_MODULE, encoding="utf-8")
        (self.folder / "bin").mkdir()
        for name, body in programs.items():
            path = self.folder / "bin" / name
            path.write_text(f"#!/usr/bin/env bash\n{RECORD}{body}", encoding="utf-8")
            path.chmod(0o755)
        self.state.mkdir()

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def mark(self, kind: str, node: int) -> None:
        """`refuse`: Ray does not start there; `absent`: it never joins; `end`: it ends."""
        (self.state / kind).mkdir(exist_ok=True)
        (self.state / kind / f"node{node}").touch()

    def environment(self) -> dict[str, str]:
        slurm = {
            "SLURM_JOB_ID": "123456",
            "SLURM_JOB_NODELIST": ",".join(f"node{k}" for k in range(self.nodes)),
            "SLURM_CPUS_PER_TASK": "8",
            "SLURM_GPUS_ON_NODE": "2",
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "RAY_", "RAYKD_"))}
        path = [str(self.folder / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
        modules = [] if self.real_ray else [str(self.folder / "modules")]
        return {
            **kept, **slurm, "STATE": str(self.state), "NODE_IP": "127.0.0.1", "PATH": os.pathsep.join(path),
            "PYTHONPATH": os.pathsep.join([*modules, *filter(None, [os.environ.get("PYTHONPATH")])]), **self.variables,
        }  # fmt: skip

    def start(self, script: str, *command: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            ["bash", str(SCRIPTS / script), *command], env=self.environment(), stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        self.started.append(process)
        return process

    def end(self) -> None:
        """Ends what a test that has failed has left running."""
        for process in self.started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()

    def run(self, script: str, *command: str, seconds: float = 60) -> tuple[int, str]:
        """The script's status and stderr; ends what it has started where it takes too long."""
        process = self.start(script, *command)
        try:
            _, stderr = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        return process.returncode, stderr

    def commands(self, start: str = "") -> list[str]:
        """The command lines so far, in order, of those that begin like this."""
        lines = (self.state / "commands").read_text(encoding="utf-8").splitlines()
        return [line for line in lines if line.startswith(start)]

    def token(self, node: int) -> str:
        """The token in the environment of a node's Ray, which must be in token mode."""
        mode, token = (self.state / "tokens" / f"node{node}").read_text(encoding="utf-8").split(" ")
        assert mode == "token"
        return token
