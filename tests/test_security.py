"""What SECURITY.md says of the code: nothing unpickles, runs foreign code or names a secret's value."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
UNPICKLING = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}


def calls() -> Iterator[tuple[str, ast.Call]]:
    """Each call in raykd/ and workloads/, with its place."""
    for folder in ("raykd", "workloads"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call):
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", node


def named(call: ast.Call) -> str:
    """`torch.load` of `torch.load(…)`."""
    return ast.unparse(call.func)


def constant(call: ast.Call, key: str) -> object:
    value = next((word.value for word in call.keywords if word.arg == key), None)
    return value.value if isinstance(value, ast.Constant) else None


def test_torch_loads_tensors_alone() -> None:
    loads = [(place, call) for place, call in calls() if named(call) == "torch.load"]
    assert loads
    assert [place for place, call in loads if constant(call, "weights_only") is not True] == []


def test_no_checkpoint_brings_code_along() -> None:
    asked = [
        (place, constant(call, "trust_remote_code")) for place, call in calls() if "from_pretrained" in named(call)
    ]
    assert any(value is False for _, value in asked)
    given = [place for place, call in calls() for word in call.keywords if word.arg == "trust_remote_code"]
    wrong = [place for place, call in calls() if place in given and constant(call, "trust_remote_code") is not False]
    assert wrong == []


def test_nothing_is_unpickled_by_hand() -> None:
    modules = []
    for folder in ("raykd", "workloads"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    modules += [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom):
                    modules.append(node.module or "")
    assert not UNPICKLING & {module.split(".")[0] for module in modules}
    unsafe = [place for place, call in calls() if named(call) in ("yaml.load", "yaml.unsafe_load", "yaml.full_load")]
    assert unsafe == []
    arrays = [place for place, call in calls() if named(call) == "np.load" and constant(call, "allow_pickle")]
    assert arrays == []
