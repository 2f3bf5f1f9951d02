"""The worked examples of docs/extending.md, as a package of their own beside raykd; and entry points that cannot be."""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
import sys
import threading
import tomllib
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
import yaml
from tiny import TINY_TEACHER, tiny_config

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(?:python|toml)\n# (\S+)\n(.*?)^```$", re.M | re.S)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The blocks of the page as an installed package: files, and entry points in a dist-info beside them."""
    blocks = dict(BLOCK.findall((ROOT / "docs/extending.md").read_text(encoding="utf-8")))
    project = tomllib.loads(blocks.pop("pyproject.toml"))["project"]
    folder = tmp_path / "site"
    for name, code in blocks.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(code, encoding="utf-8")
    declare(folder, project["name"], project["entry-points"])
    return folder


def declare(folder: Path, name: str, points: dict[str, dict[str, str]]) -> None:
    info = folder / f"{name.replace('-', '_')}-0.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n", encoding="utf-8")
    lines = [
        line for group, named in points.items() for line in (f"[{group}]", *(f"{k} = {v}" for k, v in named.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def python(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs Python beside the package, in a process of its own: types are found once in a process."""
    path = os.pathsep.join([str(folder), str(ROOT), os.environ["PYTHONPATH"]])
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment, check=False)


def test_rule_and_loss_are_built_from_the_configuration(package: Path) -> None:
    code = """
import json, numpy as np, torch
from raykd import config, objective, weighting
from raykd.data.batch import Batch
from raykd.data.tasks import Task
raw = {"data": "generated", "teachers": ["a", "b"], "student": "a", "weighting": {"type": "margin", "sharpness": 2},
       "objective": "reverse_kl", "baselines": ["margin", "uniform"]}
read = config.parse(raw, ["objective.temperature=3"])
task = Task("classification", "accuracy", ("x", "y"))
rule = weighting.build(read.weighting, weighting.WeightingInputs(task, 0, ("a", "b")))
logits = torch.tensor([[[2.0, 0.0]], [[0.5, 0.0]]], dtype=torch.float64)
weights = rule.weigh(Batch(np.array([0]), torch.tensor([0]), {}, 0, 0, 1), logits)
loss = objective.build(read.objective).per_example(torch.tensor([[1.0, -1.0]], dtype=torch.float64), logits, weights)
print(json.dumps([weights.tolist(), loss.tolist(), config.title_of("weighting", "margin")]))
"""
    done = python(package, "-c", code)
    assert done.returncode == 0, done.stderr
    weights, loss, title = json.loads(done.stdout)
    first, second = (np.exp([2.0, 0.0]) / np.exp([2.0, 0.0]).sum(), np.exp([0.5, 0.0]) / np.exp([0.5, 0.0]).sum())
    margins = np.exp(2 * np.array([first[0] - first[1], second[0] - second[1]]))
    np.testing.assert_allclose(weights, [margins / margins.sum()], rtol=1e-12)
    soft = [np.exp(np.array(z) / 3) / np.exp(np.array(z) / 3).sum() for z in ([1.0, -1.0], [2.0, 0.0], [0.5, 0.0])]
    blend = weights[0][0] * soft[1] + weights[0][1] * soft[2]
    np.testing.assert_allclose(loss, [9 * np.sum(soft[0] * np.log(soft[0] / blend))], rtol=1e-12)
    assert title == "more weight for teachers with a larger margin"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_whole_run_with_rule_loss_and_feedback(package: Path, tmp_path: Path, shared_cache: Path) -> None:
    """Through the command line, whose teachers and policy processes find the package by themselves."""
    changes = {
        "weighting": "margin", "objective": {"type": "reverse_kl", "temperature": 3.0}, "baselines": ["margin"],
        "feedback": {"type": "direct", "every": 4}, "parity_rows": 0,
        "teachers": [TINY_TEACHER, {**TINY_TEACHER, "name": "second"}],
    }  # fmt: skip
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(tiny_config(changes, shared_cache)), encoding="utf-8")
    words = ["-m", "raykd.cli", "distill", str(tmp_path / "run.yaml"), "train.epochs=1", "--json"]
    done = python(package, *words, "--output", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["feedback"]["type"] == "direct"
    assert result["feedback"]["rounds"] == 2
    assert "margin" in result["baselines"]
    card = (tmp_path / "run/student/README.md").read_text(encoding="utf-8")
    source = "reverse Kullback-Leibler divergence (Gu et al., “MiniLLM”, ICLR 2024, arXiv 2306.08543), temperature 3"
    page = html.unescape((tmp_path / "run/report.html").read_text(encoding="utf-8"))
    for text in (card, page):
        assert source in text
        assert "more weight for teachers with a larger margin, sharpness 5" in text
        assert "direct feedback" in text


class _Server(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        texts = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = json.dumps([[float(len(text)), 1.0] for text in texts]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        pass


def test_the_teacher_over_http_answers(package: Path, tmp_path: Path) -> None:
    server = HTTPServer(("127.0.0.1", 0), _Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (tmp_path / "url").write_text(f"http://127.0.0.1:{server.server_port}/\n", encoding="utf-8")
    code = f"""
import json, numpy as np
from pathlib import Path
from raykd.config import DataConfig, GeneratorConfig, TaskConfig
from raykd.data import corpus
from raykd.teachers.serving.replica import ActorResources
from raykd.teachers.teacher_model import TeacherModel
from more_kd.http_replica import HttpReplica
rows = corpus.load(DataConfig(source="generated", generated=GeneratorConfig(rows=100, validation_rows=50)),
                   TaskConfig(), Path({str(tmp_path / "cache")!r}))
teacher = TeacherModel("http", {str(tmp_path)!r}, (0, 1), ("a", "b"), 24, "float32", "w", "t", 0)
replica = HttpReplica(teacher, ActorResources(1, 0, 1, {{}}, {{}}))
answer = replica.infer(rows.splits["train"], np.array([5, 2]))
answer.check(teacher, 0, rows.splits["train"].texts)  # as the client does
print(json.dumps([answer.values.tolist(), [len(text) for text in rows.rows("train").texts(np.array([5, 2]))],
                  replica.health()["rows"]]))
"""
    done = python(package, "-c", code)
    server.shutdown()
    assert done.returncode == 0, done.stderr
    logits, lengths, rows = json.loads(done.stdout)
    assert logits == [[float(length), 1.0] for length in lengths]
    assert rows == 2


@pytest.mark.parametrize(
    ("point", "code", "says"),
    [
        ("raykd.weighting", None, "cannot be loaded: ModuleNotFoundError"),
        ("raykd.objective", "class Wrong: pass", "is no ObjectiveConfig with a `type` and an `implementation`"),
        (
            "raykd.weighting",
            "from typing import Literal\nfrom raykd.config import WeightingConfig\n"
            "class Wrong(WeightingConfig):\n    implementation = 'a:B'\n    type: Literal['oracle'] = 'oracle'\n",
            "its type 'oracle' is that of raykd.config.weighting:OracleConfig",
        ),
    ],
)
def test_an_entry_point_that_cannot_be_is_one_line(tmp_path: Path, point: str, code: str | None, says: str) -> None:
    declare(tmp_path / "site", "broken", {point: {"wrong": "wrong_kd:Wrong"}})
    if code is not None:
        (tmp_path / "site" / "wrong_kd.py").write_text(code, encoding="utf-8")
    done = python(tmp_path / "site", "-m", "raykd.cli", "config")
    (line,) = [line for line in done.stderr.splitlines() if line.strip()]
    assert done.returncode == 2
    assert says in line
    assert f"entry point wrong = wrong_kd:Wrong of {point}" in line
