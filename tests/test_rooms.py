"""The rooms of raykd/ as docs/design draws them: which may import which, how large they are, how they are written."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "raykd"

LEVELS = (
    {"data"},
    {"models"},
    {"training"},
    {"feedback", "weighting", "objective", "teachers"},
    {"student"},
    {"domains", "study", "run", "compare"},
    {"serve"},
    {"api"},
    {"cli"},
)
"""From the ground up: a room imports from lower levels, and from its own where that makes no circle."""
GROUND = {"config", "errors", "records", "display", "files", "columns", "ray_errors"}
"""Seen by all; see one another alone."""
APART = {"report": GROUND, "runtime": GROUND - {"display", "records"}}
"""Rooms beside the levels, and all that they may see."""
SEE_REPORT = {"run", "domains", "study", "api", "cli"}

SUB_ROOMS = (
    "teachers/serving",
    "teachers/feedback",
    "weighting/policy",
    "report/figures",
    "data/load",
    "data/generated",
)
LARGEST_SHARE, STUDENT_LINES = 0.14, 760
WITHOUT_RAY = (
    "config", "records", "data", "objective", "models", "compare", "weighting/rules.py", "feedback/cotangent.py",
)  # fmt: skip
NO_NAMES = {"said", "one", "told"}
"""As names of variables they say nothing of what they hold."""


def sources() -> list[Path]:
    """All modules of raykd/; raykd/workloads is workloads/ under the name that the wheel gives it."""
    return [path for path in sorted(ROOT.rglob("*.py")) if path.relative_to(ROOT).parts[0] != "workloads"]


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def room(path: Path) -> str:
    """The folder below raykd/, or the module that lies in raykd/ itself."""
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def place(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT.parent)}:{line}"


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """Full names of what a module imports, wherever in it, and the lines."""
    package = path.relative_to(ROOT.parent).parent.parts
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])
            module = base if node.level else node.module or ""
            # `from raykd import models` imports the room.
            yield from ((f"{module}.{alias.name}", node.lineno) for alias in node.names)


def arrows() -> dict[tuple[str, str], list[str]]:
    """(room, room that it imports) → the places."""
    drawn: dict[tuple[str, str], list[str]] = {}
    for path in sources():
        for name, line in imported(path):
            parts = name.split(".")
            if parts[0] != "raykd" or len(parts) == 1 or parts[1].startswith("__"):  # `from raykd import __version__`
                continue
            if parts[1] not in (room(path), "workloads"):
                drawn.setdefault((room(path), parts[1]), []).append(place(path, line))
    return drawn


def level(name: str) -> int:
    return next(k for k, names in enumerate(LEVELS) if name in names)


def allowed(source: str, target: str) -> bool:
    if source in GROUND:
        return target in GROUND
    if target in GROUND or source == "__init__":
        return True
    if source in APART:
        return target in APART[source]
    if target == "report":
        return source in SEE_REPORT
    if target == "runtime":
        return level(source) >= level("run")
    return level(source) >= level(target)


def test_every_room_has_its_place() -> None:
    known = set().union(*LEVELS, GROUND, APART, {"__init__"})
    assert {room(path) for path in sources()} <= known
    assert {name for name in known if not ((ROOT / name).is_dir() or (ROOT / f"{name}.py").exists())} == set()


def test_no_arrow_runs_up() -> None:
    wrong = {arrow: places for arrow, places in arrows().items() if not allowed(*arrow)}
    assert not wrong, "\n".join(f"{source} → {target}: {places}" for (source, target), places in wrong.items())


def test_no_circle_between_rooms() -> None:
    graph: dict[str, set[str]] = {}
    for source, target in arrows():
        graph.setdefault(source, set()).add(target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' → '.join(reversed(error.args[1]))}")


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_no_room_outgrows_the_others() -> None:
    sizes: dict[str, int] = {}
    for path in sources():
        inner = path.relative_to(ROOT).parent.as_posix()
        name = inner if inner in SUB_ROOMS else room(path)
        sizes[name] = sizes.get(name, 0) + lines(path)
    assert set(SUB_ROOMS) <= set(sizes)
    limit = LARGEST_SHARE * sum(sizes.values())
    assert {name: size for name, size in sizes.items() if size > limit} == {}


def test_the_student_is_a_step_with_its_features_and_its_factory() -> None:
    assert sum(lines(path) for path in (ROOT / "student").glob("**/*.py")) < STUDENT_LINES


def test_ray_is_imported_where_processes_are_made_or_met() -> None:
    mathematics = [
        path for name in WITHOUT_RAY for path in [ROOT / name, *(ROOT / name).rglob("*.py")] if path.is_file()
    ]
    assert len(mathematics) > len(WITHOUT_RAY)
    assert [place(path, n) for path in mathematics for name, n in imported(path) if name.split(".")[0] == "ray"] == []


def test_configuration_and_records_load_neither_torch_nor_ray() -> None:
    """Whatever they import in turn: `raykd config` answers at once, and a log can be read anywhere."""
    names = [f"raykd.config.{path.stem}" for path in (ROOT / "config").glob("*.py") if path.stem != "__init__"]
    names += [f"raykd.records.{path.stem}" for path in (ROOT / "records").glob("*.py") if path.stem != "__init__"]
    program = f"import sys, {', '.join(names)}\nprint(*sorted({{'torch', 'ray', 'transformers'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT.parent, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_services_load_no_torch() -> None:
    """A service only routes and stores: its actor is there in a second, and takes no memory for what it never calls."""
    program = "import sys, raykd.teachers.serving.service\nprint(*sorted({'torch', 'transformers'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT.parent, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_docstrings_say_something() -> None:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    short = []
    for path in sources():
        for node in ast.walk(parsed(path)):
            if isinstance(node, documented):
                text = ast.get_docstring(node)
                if text is not None and len(text.split()) <= 4:
                    short.append(f"{place(path, getattr(node, 'lineno', 1))} {text}")
    assert not short, "\n".join(short)


def bound(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Names that a module binds to values: assignments, loops, `with`, comprehensions, arguments, patterns."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()):
                yield name, node.lineno
            case ast.arg(arg=name):
                yield name, node.lineno
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield name, node.lineno


def test_variables_are_named_for_what_they_hold() -> None:
    places = [f"{place(path, n)} {name}" for path in sources() for name, n in bound(parsed(path)) if name in NO_NAMES]
    assert not places, "\n".join(places)


def test_replacement_samplers_are_keyed_quiz_and_reward() -> None:
    """The purpose is part of the key of every draw (see test_seed_strings.py)."""
    calls = [
        node
        for path in sources()
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "ReplacementSampler"
    ]
    purposes = [call.args[0].value for call in calls if isinstance(call.args[0], ast.Constant)]
    assert len(purposes) == len(calls)
    assert set(purposes) == {"quiz", "reward"}
