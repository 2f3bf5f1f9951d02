"""The command line: statuses, one line for what a person did wrong, JSON on the last line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from tiny import tiny_config

from raykd import cli

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs the entry point with the given words; its status, stdout and stderr."""

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["raykd", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfd.readouterr()
        return int(ended.value.code or 0), out, err

    return call


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A tiny run's configuration file on rows of its own."""
    rows = ["text,label,domain"] + [f"this one is {'good' if k % 2 else 'bad'} number {k},{k % 2},d" for k in range(60)]
    for split in ("train", "validation"):
        (tmp_path / f"{split}.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    raw = tiny_config({"data": {"source": str(tmp_path), "max_length": 16}}, tmp_path / "cache")
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(raw), encoding="utf-8")
    return path


def test_check_prints_the_plan_as_json(run: Run, config: Path) -> None:
    status, out, _ = run("check", str(config), "--json")
    plan = json.loads(out.splitlines()[-1])
    assert status == 0
    assert plan["rows"] == {"train": 60, "validation": 60}
    assert plan["student"]["steps"] == 2 * 2
    assert plan["overlap"] == 60
    assert any("60" in warning for warning in plan["warnings"])


def test_check_prints_a_plan_for_people(run: Run, config: Path) -> None:
    status, out, _ = run("check", str(config))
    assert status == 0
    assert "teacher0" in out


def bad_rows(text: str, newline: str = "\n") -> Callable[[Path], object]:
    return lambda folder: (folder / "train.csv").write_bytes(text.replace("\n", newline).encode("latin-1"))


def file_for_cache(folder: Path) -> None:
    (folder / "cache").write_text("a file in place of the folder", encoding="utf-8")


GOOD = "fine,1\nbad,0\nnice,1\nawful,0\n"


@pytest.mark.parametrize(
    ("damage", "words", "says"),
    [
        (None, ["train.epoch=3"], "did you mean epochs?"),
        (None, ["data.source=/no/such/folder"], "no such file or folder"),
        (None, ["data.train=none.csv"], "none.csv"),
        (None, ["data.text=review"], "review"),
        (None, ["data.label=stars"], "stars"),
        (None, ["student=/no/such/model"], "no such folder"),
        (None, ["teachers.0.model={from: no-such/model}", "teachers.0.prepare=given"], "no-such/model"),
        (None, ["task={labels: [a, b, c]}", "data.domains=[q]"], "q"),
        (None, ["train.epochs=.inf"], "is not a finite number"),
        (None, ["train.epochs=1e300"], "train.epochs"),
        (None, ["seed=" + "9" * 5000], "does not fit in 64 bits"),
        (None, ["data=" + "[" * 1000], "nests more than 100 deep"),
        (None, ["name=" + "a" * 300], "at most 100 characters"),
        (None, ["cluster.address=nonsense"], "is no address of a Ray cluster"),
        (None, ["data.source=/" + "a" * 5000], "File name too long"),
        (file_for_cache, [], "cannot be written: Not a directory"),
        (bad_rows("text,label,label\nfine,1,0\n"), [], "two columns 'label'"),
        (bad_rows("text,label\n"), [], "train.csv"),
        (bad_rows("text,label\n" + GOOD + ",1\n"), [], "row"),
        (bad_rows("text,label\n" + GOOD + "x,\n"), [], "row"),
        (bad_rows("text,label\n" + GOOD + "x,7\n"), ["task={labels: [a, b]}"], "7"),
        (bad_rows("text,label\n" + GOOD + "x,0.5\n"), [], "regression"),
        (bad_rows("text,label\nfine,1\nnice,1\n"), [], "have class 1"),
        (bad_rows("text,label\n" + GOOD + "caf\xe9,1\n"), [], "UTF-8"),
        (bad_rows("text,label\n" + GOOD + "x,much\n"), ["task=regression"], "much"),
    ],
)
@pytest.mark.parametrize("command", ["check", "distill"])
def test_what_a_person_did_wrong_is_one_line_and_status_2(
    run: Run, config: Path, command: str, damage: Callable[[Path], object] | None, words: list[str], says: str
) -> None:
    if damage is not None:
        damage(config.parent)
    more = ["--output", str(config.parent / "out")] if command == "distill" else []
    status, out, err = run(command, str(config), *words, *more)
    said = [line for line in err.splitlines() if line.startswith("raykd: ")]
    assert status == 2
    assert len(said) == 1
    assert says in said[0]
    assert "Traceback" not in out + err
    assert not (config.parent / "out" / "config.yaml").exists()  # the mended run may use the same folder


def test_an_output_that_cannot_be_made_is_one_line(run: Run, config: Path) -> None:
    status, out, err = run("distill", str(config), "--output", str(config / "below a file"))
    assert status == 2
    assert [line for line in err.splitlines() if line.startswith("raykd: ")] == [
        f"raykd: {config}/below a file: Not a directory (give a path that can be used)"
    ]
    assert "Traceback" not in out + err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--domains", "d, e"], "no row of the domain 'e'"),
        (["--domains", "d,d"], "--domains: 'd' is given twice"),
        (["data.target_domain=d"], "data.target_domain: is set"),
        (["data.domain=colour"], "colour"),
        (["train.epoch=3"], "did you mean epochs?"),
    ],
)
def test_domains_that_cannot_be_used_are_one_line(run: Run, config: Path, words: list[str], says: str) -> None:
    out = config.parent / "out"
    status, printed, err = run("domains", str(config), *words, "--output", str(out))
    lines = [line for line in err.splitlines() if line.startswith("raykd: ")]
    assert (status, len(lines)) == (2, 1)
    assert says in lines[0]
    assert "Traceback" not in printed + err
    assert not (out / "config.yaml").exists()


def test_report_of_no_run_and_unknown_bench(run: Run, tmp_path: Path) -> None:
    assert run("report", str(tmp_path / "none"))[0] == 2
    status, _, err = run("bench", "nonsense")
    assert status == 2
    assert "serving" in err


def test_the_command_line_is_as_documented(run: Run) -> None:
    _, out, _ = run("--help")
    for command in (
        "quickstart",
        "check",
        "teach",
        "distill",
        "domains",
        "study",
        "evaluate",
        "compare",
        "report",
        "bench",
        "config",
    ):
        assert command in out


def test_the_reference_of_a_key_as_text_and_as_schema(run: Run) -> None:
    status, out, _ = run("config", "train.lr")
    assert (status, "lr: number > 0; default 5e-05" in out) == (0, True)
    assert json.loads(run("config", "train.lr", "--json")[1])["exclusiveMinimum"] == 0
    assert run("config", "--markdown")[1].startswith("# Configuration")
    status, _, err = run("config", "trian.lr")
    assert status == 2
    assert "did you mean train?" in err
