"""cluster/: what `ray up` reads, the image, and that its commands, keys and versions are those of this repository."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import typer.main
import yaml
from packaging.requirements import Requirement
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts import scripts as ray_cli
from typer.core import TyperGroup

from raykd import cli
from raykd.config import reference

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster"
RAY_UP = ("aws.yaml", "gcp.yaml", "on_premise.yaml")
CLOUDS = RAY_UP[:2]
FILES = [path for path in sorted(CLUSTER.rglob("*")) if path.is_file()]
RAYKD = typer.main.get_command(cli.app)
README = (CLUSTER / "README.md").read_text(encoding="utf-8")


def loaded(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((CLUSTER / name).read_text(encoding="utf-8"))
    return content


def pinned_ray() -> str:
    match = re.search(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert match
    return match[1]


def blocks() -> Iterator[str]:
    """Lines of the README's fenced blocks that are not YAML."""
    for kind, block in re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL):
        if not kind:
            yield from block.splitlines()


def documented() -> Iterator[str]:
    """All lines of code in cluster/: blocks and code spans of the README, comments with a command, entry points."""
    yield from blocks()
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL))
    yield loaded("kuberay/rayjob.yaml")["spec"]["entrypoint"]
    for script in CLUSTER.glob("*.sh"):
        yield from re.findall(r"^#   (sbatch .*)$", script.read_text(encoding="utf-8"), re.MULTILINE)


def commands(program: str) -> list[list[str]]:
    """The words after the program's name in each line that calls it."""
    found = []
    for line in documented():
        words = shlex.split(line, comments=True)
        names = [word.rsplit("/", 1)[-1] for word in words]
        for k, name in enumerate(names):
            # Also inside of another command: `sbatch … raykd distill`, `ray job submit … -- raykd distill`.
            if name == program and k + 1 < len(words) and re.fullmatch("[a-z-]+", words[k + 1]):
                found.append(words[k + 1 :])
    return found


def parse(command: Any, words: list[str]) -> None:
    """Reads the words as the program would: Ray's by click, raykd's by the click that is inside of typer.

    Raises:
        KeyError: no such subcommand.
        Exception: no such option, or one without its value; a UsageError of either click.
    """
    name = "program"
    while isinstance(command, click.Group | TyperGroup):
        name, *words = words
        command = command.commands[name]
    if words:  # else a command that is named alone
        command.make_context(name, list(words))


@pytest.mark.parametrize("name", RAY_UP)
def test_ray_up_accepts_the_file(name: str) -> None:
    validate_config(prepare_config(loaded(name)))


@pytest.mark.parametrize("name", RAY_UP)
def test_ray_up_refuses_an_unknown_key(name: str) -> None:
    with pytest.raises(Exception, match="start_ray_command"):
        validate_config(prepare_config(loaded(name) | {"start_ray_command": []}))


@pytest.mark.parametrize("name", CLOUDS)
def test_clouds_have_nodes_for_each_role(name: str) -> None:
    types = loaded(name)["available_node_types"]
    teacher, student, head = types["teacher"], types["student"], types[loaded(name)["head_node_type"]]
    assert (teacher["labels"], student["labels"]) == ({"raykd-role": "teacher"}, {"raykd-role": "student"})
    assert teacher["resources"]["teacher_slot"] == teacher["resources"]["GPU"] == 1
    assert student["resources"]["student_slot"] == student["resources"]["CPU"]
    assert "GPU" not in student["resources"]
    assert head["resources"] == {"CPU": 0}
    assert teacher["docker"]["worker_image"].endswith("-gpu")
    assert loaded(name)["docker"]["image"].endswith("-cpu")


@pytest.mark.parametrize("name", RAY_UP)
def test_all_nodes_have_the_token_and_the_shared_folder(name: str) -> None:
    config = loaded(name)
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    starts = config["head_start_ray_commands"][1:] + config["worker_start_ray_commands"][1:]
    options = config.get("docker", {}).get("run_options", [])
    assert "--env RAY_AUTH_MODE=token" in options or all("RAY_AUTH_MODE=token ray start" in
        re.sub(r"HF_HOME=\S+ \S*/ray", "ray", start) for start in starts)  # fmt: skip
    assert any("mountpoint -q /mnt/raykd" in command for command in config["initialization_commands"])
    assert not options or "--volume /mnt/raykd:/mnt/raykd" in options


@pytest.mark.parametrize("name", RAY_UP)
def test_ray_knows_the_options_that_nodes_start_with(name: str) -> None:
    config = loaded(name)
    for command in config["head_start_ray_commands"] + config["worker_start_ray_commands"]:
        words = shlex.split(command[command.rindex("ray st") :])[1:]
        parse(ray_cli.cli, words)


def test_no_dashboard_listens_on_all_interfaces() -> None:
    assert [path.name for path in FILES if "0.0.0.0" in path.read_text(encoding="utf-8")] == []
    for name in RAY_UP:
        assert "--dashboard-host=127.0.0.1" in loaded(name)["head_start_ray_commands"][-1]


@pytest.mark.parametrize(
    ("role", "slots"),
    [("teacher", '{"teacher_slot": 2}'), ("student", '{"student_slot": 8}'), (None, "{}"), ("other", "{}")],
)
def test_machines_of_ones_own_start_with_the_slots_of_their_role(role: str | None, slots: str, tmp_path: Path) -> None:
    programs = {
        "raykd-venv/bin/ray": 'printf "%s\\n" "$@" "$RAY_AUTH_MODE"',
        "bin/nvidia-smi": "echo GPU 0; echo GPU 1",
        "bin/nproc": "echo 8",
    }
    for name, body in programs.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        path.chmod(0o755)
    if role is not None:
        (tmp_path / "role").write_text(f"{role}\n", encoding="utf-8")
    command = loaded("on_premise.yaml")["worker_start_ray_commands"][-1]
    command = command.replace("/etc/raykd-role", str(tmp_path / "role")).replace("ulimit -n 65536;", "")
    environment = os.environ | {
        "HOME": str(tmp_path), "RAY_HEAD_IP": "192.0.2.10", "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
    }  # fmt: skip
    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "start", "--address=192.0.2.10:6379", f"--labels=raykd-role={role or 'none'}", f"--resources={slots}", "token",
    ]  # fmt: skip


def test_versions_are_the_pinned_ones() -> None:
    pinned = pinned_ray()
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    wanted = re.search(r'"(ray\[[^"]+)"', project)
    assert wanted
    assert Requirement(wanted[1]).specifier.contains(pinned)
    named = {
        (path.name, version)
        for path in FILES
        for version in re.findall(r"(?<![\d.])2\.\d+\.\d+(?![\d.])", path.read_text(encoding="utf-8"))
    }
    assert {version for _, version in named} == {pinned}
    assert {name for name, _ in named} == {"Dockerfile", "README.md", "aws.yaml", "gcp.yaml", "raycluster.yaml"}


def test_images_are_built_under_the_names_that_are_used() -> None:
    built = set(re.findall(r"docker build .*-t (\S+) \.", README))
    used = {image for path in FILES for image in re.findall(r"image: (\S+)", path.read_text(encoding="utf-8"))}
    assert built == used
    assert built == set(re.findall(r"-t (\S+) \.$", dockerfile(), re.MULTILINE))


def dockerfile() -> str:
    return (CLUSTER / "Dockerfile").read_text(encoding="utf-8")


def test_the_image_and_own_machines_install_as_the_readme_does() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    match = re.search(r"^(pip install -c constraints\.txt \.)", readme, re.MULTILINE)
    assert match
    assert re.findall(r"^RUN (pip .*)$", dockerfile(), re.MULTILINE) == [match[1]]
    assert loaded("on_premise.yaml")["setup_commands"][-1].endswith(f"python -m {match[1]}")
    assert "pip install --quiet -c constraints.txt" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_the_image_and_own_machines_get_what_the_package_is_built_of() -> None:
    built_of = {"pyproject.toml", "setup.py", "constraints.txt", "README.md", "LICENSE", "raykd", "workloads"}
    copied = {
        name
        for line in re.findall(r"^COPY --chown=\S+ (.*)$", dockerfile(), re.MULTILINE)
        for name in line.split()[:-1]
    }
    let_in = re.findall(r"^!(.*)$", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE)
    mounts = loaded("on_premise.yaml")["file_mounts"]
    sent = {local for there, local in mounts.items() if there == f"~/raykd-source/{local}"}
    assert copied == set(let_in) == sent == built_of
    assert all((ROOT / name).exists() for name in built_of)


def test_every_raykd_command_is_one() -> None:
    found = commands("raykd")
    assert {words[0] for words in found} >= {"distill", "check", "study", "bench"}
    for words in found:
        parse(RAYKD, words)
        for key in (word.partition("=")[0] for word in words if "=" in word):
            assert reference.reference(key)


def test_every_ray_command_is_one() -> None:
    found = commands("ray")
    assert {words[0] for words in found} >= {"up", "down", "dashboard", "exec", "job", "get-auth-token", "rsync-up"}
    for words in found:
        parse(ray_cli.cli, words)


def test_a_wrong_command_would_be_found() -> None:
    for program, option in ((ray_cli.cli, ["up", "x.yaml", "--adress", "y"]), (RAYKD, ["teach", "x", "--adress", "y"])):
        with pytest.raises(KeyError):
            parse(program, ["serv"])
        with pytest.raises(Exception, match=r"[Nn]o such option"):
            parse(program, option)


def test_every_key_that_is_named_exists() -> None:
    spans = re.findall(r"`((?:teachers\[\]|train|cluster|data|student|objective)\.[\w.\[\]]+)`", README)
    assert {"teachers[].resources", "train.worker_resources", "cluster.lease_s"} <= set(spans)
    for key in spans:
        if key not in ("teachers[].forwards", "teachers[].seconds"):  # fields of result.json
            assert reference.reference(key)


def test_all_that_is_to_be_replaced_is_named() -> None:
    to_replace = {
        match
        for path in FILES
        if path.suffix == ".yaml"
        for match in re.findall(r"[\w-]*REPLACE(?:-[A-Z]+)?", path.read_text(encoding="utf-8"))
    }
    assert len(to_replace) > 5
    assert {name for name in to_replace if f"`{name}`" not in README} == set()
