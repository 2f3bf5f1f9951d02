"""Whole runs whose teacher is a server over HTTP: the same student as with its checkpoint here."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from endpoint_server import EndpointServer, dead_url, logits_of
from logs import losses
from tiny import Configure, tiny_config

from raykd import api
from raykd.errors import TeacherError
from raykd.run.folder import RunFolder
from raykd.teachers.serving.endpoint_forms import PROBE

LABELS = ("negative", "positive")
SHORT = ["train.precision=float64", "train.epochs=1"]
TOKEN = "hush-hush-5521"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, shared_cache: Path, ray_local: None) -> Path:
    """A teacher that has learnt something."""
    from raykd import config as configuration

    config = configuration.parse(tiny_config({}, shared_cache))
    return Path(api.teach(config, tmp_path_factory.mktemp("teach"))[0]["folder"])


@pytest.fixture
def ray_folder() -> Iterator[Path]:
    """Where a Ray of its own has its logs: a short path, since it has sockets there too."""
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture
def server(checkpoint: Path) -> Iterator[EndpointServer]:
    server = EndpointServer(logits_of(checkpoint, 24), LABELS)
    yield server
    server.close()


def given(checkpoint: Path) -> dict[str, Any]:
    return {"name": "t", "model": str(checkpoint)}


def endpoint(*urls: str, **keys: Any) -> dict[str, Any]:
    return {"name": "t", "endpoint": list(urls), "request_timeout_s": 20} | keys


@pytest.mark.slow
@pytest.mark.usefixtures("ray_local")
def test_a_run_with_an_endpoint_is_that_with_its_checkpoint(
    configure: Configure, checkpoint: Path, server: EndpointServer, tmp_path: Path
) -> None:
    """Logits, by two replicas, one of two addresses dead; and again from the store, at other addresses."""
    api.distill(configure(*SHORT, teachers=[given(checkpoint)]), tmp_path / "given")
    teacher = endpoint(f"{dead_url()}/raykd", f"{server.url}/raykd", replicas=2, model_id="tiny", seen=["train"])
    cache = tmp_path / "cache"
    result = api.distill(configure(*SHORT, cache=cache, teachers=[teacher]), tmp_path / "asked")
    np.testing.assert_allclose(losses(tmp_path / "asked"), losses(tmp_path / "given"), rtol=1e-5)
    (of_teacher,) = result.teachers
    assert of_teacher.rows_computed == 240 + 80
    assert of_teacher.parameters is None
    assert of_teacher.endpoint is not None
    assert of_teacher.endpoint.model_dump() == {
        "form": "raykd", "model": "tiny", "revision": "1", "outputs": "logits", "labels": list(LABELS),
    }  # fmt: skip
    assert result.seen == {"t": ["train"]}
    assert any("gives no answer" in warning for warning in result.warnings)
    assert {len(body["texts"]) for _, _, body in server.requests} <= set(range(1, 33))
    card = (tmp_path / "asked" / "student" / "README.md").read_text(encoding="utf-8")
    assert "`tiny`, revision `1`, a server that was asked over HTTP for logits" in card
    asked = server.rows_asked()
    moved = configure(*SHORT, "seed=1", cache=cache, teachers=[endpoint(f"{server.url}/raykd", batch_rows=5)])
    again = api.distill(moved, tmp_path / "again")
    assert again.teachers[0].rows_computed == 0
    assert server.rows_asked() == asked + 2 * len(PROBE)  # what it serves: for the plan, and for the run


@pytest.mark.slow
@pytest.mark.usefixtures("ray_local")
@pytest.mark.parametrize(("form", "path"), [("vllm", ""), ("tei", ""), ("raykd", "/raykd")])
def test_probabilities_give_the_same_loss(
    configure: Configure, checkpoint: Path, server: EndpointServer, tmp_path: Path, form: str, path: str
) -> None:
    server.kind = "probabilities"
    kl = "objective={type: kl, temperature: 3, alpha: 0.9}"
    api.distill(configure(*SHORT, kl, teachers=[given(checkpoint)]), tmp_path / "given")
    labels = list(LABELS) if form == "vllm" else None
    teacher = endpoint(server.url + path, form=form, outputs="probabilities", labels=labels)
    api.distill(configure(*SHORT, kl, cache=tmp_path / "cache", teachers=[teacher]), tmp_path / "asked")
    np.testing.assert_allclose(losses(tmp_path / "asked"), losses(tmp_path / "given"), rtol=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_local")
def test_an_answer_that_must_not_be_used_ends_the_run_and_rows_are_kept(
    configure: Configure, server: EndpointServer, tmp_path: Path
) -> None:
    config = configure(*SHORT, cache=tmp_path / "cache", teachers=[endpoint(f"{server.url}/raykd")])
    spoilt = 5

    def change(answer: Any) -> Any:
        nonlocal spoilt
        spoilt -= 1
        return answer | {"logits": answer["logits"][1:]} if spoilt < 0 else answer

    server.change = change
    with pytest.raises(TeacherError, match=rf"teacher t: {server.url}/raykd: it answered \d+ rows, asked were \d+"):
        api.distill(config, tmp_path / "run")
    server.change = lambda answer: answer
    result = api.distill(config, tmp_path / "run")
    assert 0 < result.teachers[0].rows_computed < 240 + 80
    assert result.teachers[0].rows_computed + result.teachers[0].rows_reused == 240 + 80


def test_the_plan_asks_what_is_served(configure: Configure) -> None:
    server = EndpointServer(lambda texts, pairs: np.zeros((len(texts), 2)), LABELS)
    plan = api.check(configure(teachers=[endpoint(server.url, form="tei", replicas=3)]))
    (teacher,) = plan["teachers"]
    assert (teacher["prepare"], teacher["replicas"], teacher["resources"]) == ("endpoint", 3, {"CPU": 0.1, "GPU": 0})
    assert teacher["endpoint"]["model"] == "tiny"
    assert [path for path, _, _ in server.requests] == ["/info"]
    server.close()
    with pytest.raises(TeacherError, match=r"teacher t: no server of its endpoint answers: http://127\.0\.0\.1:1: "):
        api.check(configure(teachers=[endpoint("http://127.0.0.1:1", form="tei")]))


@pytest.mark.slow
def test_the_token_is_in_no_file_and_on_no_terminal(tmp_path: Path, ray_folder: Path) -> None:
    """Not in the run's, not in those of the cache, not in the logs of Ray."""
    server = EndpointServer(lambda texts, pairs: np.array([[len(text) / 50, 0.5] for text in texts]), LABELS)
    teacher = endpoint(server.url, form="tei", token_variable="OUR_TOKEN")
    raw = tiny_config({"teachers": [teacher], "train": {"max_steps": 3, "threads": 1}}, tmp_path / "cache")
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(raw), encoding="utf-8")
    command = [sys.executable, "-c", "from raykd.cli import main; main()"]
    environment = {**os.environ, "OUR_TOKEN": TOKEN, "RAY_TMPDIR": str(ray_folder)}
    words = ["distill", str(tmp_path / "run.yaml"), "--output", str(tmp_path / "out")]
    done = subprocess.run(
        [*command, *words], env=environment, capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert RunFolder(tmp_path / "out").run_result() is not None
    sent = {headers.get("Authorization") for _, headers, _ in server.requests}
    assert sent == {f"Bearer {TOKEN}"}
    written = [path for folder in (tmp_path, ray_folder) for path in folder.rglob("*") if path.is_file()]
    assert {"result.json", "report.html", "raylet.out"} <= {path.name for path in written}
    assert [path for path in written if TOKEN.encode() in path.read_bytes()] == []
    assert TOKEN not in done.stdout + done.stderr
    server.close()
