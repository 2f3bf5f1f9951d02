"""Ray as raykd uses it: settings made before Ray is imported, a local Ray of our own or a cluster joined."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any

# Before `import ray`, since Ray reads them at import; `setdefault`, so that what the user has set is kept.
for _name, _value in {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "TOKENIZERS_PARALLELISM": "false",
    # A stopped trial unwinds first (the teachers that it trains end with it), and its process then takes the next.
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "20",
    # What a search knows is on disk at most so many seconds later: its driver may be killed.
    "TUNE_GLOBAL_CHECKPOINT_S": "2",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # Ray starts its workers at nice 15: teachers would starve beside a student that trains in the driver's process.
    "RAY_worker_niceness": "0",
}.items():
    os.environ.setdefault(_name, _value)

import ray  # noqa: E402

from raykd.config import RunConfig, TrainedTeacherConfig  # noqa: E402
from raykd.errors import ConfigError, RunError, one_line  # noqa: E402

log = logging.getLogger(__name__)


@contextlib.contextmanager
def connected(config: RunConfig, runs: int = 1) -> Iterator[bool]:
    """A Ray for this run; yields whether it is a cluster that was joined. One that is there already is used as it is.

    Args:
        runs: how many runs of this configuration share it; of them as many train at once as the cores hold.

    Raises:
        RunError: no Ray answers at the address.
    """
    address = config.cluster.address or os.environ.get("RAY_ADDRESS")
    if ray.is_initialized():
        yield address is not None
        return
    if address:
        _join(address)
    else:
        # A Ray of our own listens on this machine only and ends with the run: no token to write into a home folder.
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")
        cpus = config.cluster.num_cpus or _logical_cpus(config, runs)
        nested = (config.study is not None or runs > 1) and config.train.workers > 1
        with _sigterm_kept():
            ray.init(
                address="local",
                num_cpus=cpus,
                include_dashboard=nested,
                log_to_driver=False,
                logging_level=logging.ERROR,
                object_store_memory=config.cluster.object_store_mb << 20,
                runtime_env=_known_address() if nested else None,
            )
        os.environ.pop("RAY_GCS_SERVER_PORT", None)
        log.info("local Ray with %d logical CPUs on %d cores", cpus, os.cpu_count())
    try:
        yield bool(address)
    finally:
        ray.shutdown()


@contextlib.contextmanager
def joined(address: str | None, what: str) -> Iterator[None]:
    """The Ray cluster at an address, or at RAY_ADDRESS; one that is joined already is used as it is.

    Args:
        what: needs a cluster, for the error.

    Raises:
        ConfigError: no address is given.
        RunError: no Ray answers there.
    """
    address = address or os.environ.get("RAY_ADDRESS")
    if ray.is_initialized():
        yield
        return
    if address in (None, "local"):
        mend = "give --address, or set RAY_ADDRESS; `ray start --head` starts a cluster of this machine"
        raise ConfigError(what, "is on a running Ray cluster, and none is named", mend)
    _join(str(address))
    try:
        yield
    finally:
        ray.shutdown()


def _join(address: str) -> None:
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    try:
        with _sigterm_kept():
            ray.init(address=address, log_to_driver=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        mend = "is the cluster up, and RAY_AUTH_MODE (token or disabled) the same on both sides?"
        raise RunError(f"Ray at {address}", one_line(error), mend) from None
    log.info("joined the Ray cluster at %s", address)


@contextlib.contextmanager
def _sigterm_kept() -> Iterator[None]:
    """`ray.init` makes SIGTERM end the driver at once; with us it is a request to save first, as Ctrl-C is."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _known_address() -> dict[str, Any]:
    """What Ray Train runs inside trials or tasks need, so that one that is stopped gives its resources back.

    Its cleaner, an actor, asks the dashboard's State API whether the run still lives; and that finds its own Ray only
    by RAY_ADDRESS where several run on a machine (Ray 2.60: "Found multiple active Ray instances", nothing is freed).
    """
    with socket.socket() as probe:
        probe.bind(("", 0))
        port = probe.getsockname()[1]
    os.environ["RAY_GCS_SERVER_PORT"] = str(port)
    return {"env_vars": {"RAY_ADDRESS": f"127.0.0.1:{port}"}}


def _logical_cpus(config: RunConfig, runs: int = 1) -> int:
    """As many as all roles need together, and at least 4: logical CPUs are places for actors, not cores."""
    replicas = sum(teacher.replicas * teacher.num_cpus for teacher in config.teachers)
    finetuned = [teacher.finetune for teacher in config.teachers if isinstance(teacher, TrainedTeacherConfig)]
    trainers = [config.train, *finetuned]
    workers = max(trainer.workers * trainer.worker_cpus for trainer in trainers)
    if config.study is not None:
        trials = config.study.concurrency or max(1, (os.cpu_count() or 1) // (config.train.threads or 1))
        # Trained teachers too, wherever a trial's feedback may be on.
        trained = config.trainer_ranks * sum(teacher.num_cpus for teacher in config.teachers)
        workers = max(workers, trials * (config.train.workers * config.train.worker_cpus + trained))
    elif runs > 1:
        at_once = min(runs, max(1, (os.cpu_count() or 1) // (config.train.threads or 1)))
        learning = zip(config.teachers, config.trainable_teachers, strict=True)
        trained = config.trainer_ranks * sum(teacher.num_cpus for teacher, learns in learning if learns)
        # Each may start services of its own: of teachers that a baseline has trained, of features that are not stored.
        workers = max(workers, at_once * (config.train.workers * config.train.worker_cpus + trained + replicas))
    return max(4, os.cpu_count() or 1, int(replicas + workers) + 2)
