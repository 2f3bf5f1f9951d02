"""The model card and the table at a run's end."""

import io
import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from rich.console import Console

from raykd.display.tables import plan_table, scores_table, teachers_table
from raykd.display.text import count, difference, interval, share
from raykd.report import final_table, model_card


def front_matter(card: str) -> dict[str, Any]:
    _, matter, _ = card.split("---\n", 2)
    return yaml.safe_load(matter)


def printed(result: dict[str, Any], width: int = 100) -> str:
    file = io.StringIO()
    Console(file=file, width=width).print(final_table(result))
    return file.getvalue()


def test_the_card_says_what_how_and_how_good(result: dict[str, Any], config: dict[str, Any]) -> None:
    card = model_card(result, config)
    matter = front_matter(card)
    assert matter["tags"] == ["raykd", "distillation"]
    assert matter["metrics"] == ["accuracy", "f1", "matthews_correlation"]
    assert "license" not in matter
    for part in (
        "| teacher `wordpiece-4x128` | 0.891 |",
        "| **this student** | **0.834** |",
        "`some-lab/encoder`, cut to layers [0, 5]",
        "Distillation closed 39 % of the gap",
        "AutoModelForSequenceClassification.from_pretrained",
        "max_length=64",
        "step 480 of 600",
        "1 layer, 32 wide",
    ):
        assert part in card


def test_the_card_names_no_path_of_the_machine(result: dict[str, Any], config: dict[str, Any]) -> None:
    result["warnings"] = ["/somewhere/private/reviews/train.tsv: 3 rows are empty"]
    config["student"] = {"from": "/somewhere/private/small/", "layers": 2}
    config["teachers"][0]["model"]["tokenizer"] = "C:\\somewhere\\private\\tokens"
    card = model_card(result, config)
    assert not re.search(r"somewhere|private", card)
    for name in ("`reviews`", "`bpe-checkpoint`", "`small`, cut to 2 layers", "`tokens`"):
        assert name in card
    assert {"base_model", "datasets"}.isdisjoint(front_matter(card))


def test_the_card_names_the_hubs_models_and_data(result: dict[str, Any], config: dict[str, Any]) -> None:
    config["student"], config["data"]["source"] = {"from": "some-lab/small", "layers": None}, "some-lab/reviews"
    matter = front_matter(model_card(result, config))
    assert matter["base_model"] == "some-lab/small"
    assert matter["datasets"] == ["some-lab/reviews"]


def test_the_code_in_the_card_is_python(result: dict[str, Any], config: dict[str, Any]) -> None:
    for pair, labels in ((None, ["a", "b"]), ("second", None)):
        config["data"]["text_pair"], result["labels"] = pair, labels
        code = model_card(result, config).split("```python\n")[1].split("```")[0]
        compile(code, "card", "exec")
        assert ("a second sentence" in code) == (pair is not None)


def test_the_card_of_a_regression_on_the_embedded_corpus(result: dict[str, Any], config: dict[str, Any]) -> None:
    result |= {"metric": "pearson", "scores": {"pearson": 0.84, "spearman": 0.83}, "labels": None, "test": None}
    config["data"]["source"], config["task"]["type"] = "generated", "regression"
    card = model_card(result, config)
    assert front_matter(card)["metrics"] == ["pearsonr", "spearmanr"]
    assert "a text regression model" in card
    assert "the embedded corpus of generated reviews" in card


def test_names_cannot_break_the_cards_table_or_front_matter(result: dict[str, Any], config: dict[str, Any]) -> None:
    result["teachers"][0]["name"] = "a|b`c\nd"
    result["labels"] = ["---", "x: [y"]
    card = model_card(result, config)
    assert "| teacher `a\\|b'c d` | 0.891 |" in card
    assert front_matter(card)["library_name"] == "transformers"


def test_the_barest_result_still_makes_a_card() -> None:
    assert "# bare" in model_card({"name": "bare", "metric": "accuracy", "value": 0.5}, {})


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_table_has_teachers_baselines_student_gap_and_efficiency(result: dict[str, Any], width: int) -> None:
    text = printed(result, width)
    assert all(len(line) <= width for line in text.splitlines())
    flat = " ".join(text.split())
    for part in ("0.891", "0.870", "0.798", "+0.036", "0.826", "39 % of the gap", "98 % of the same student"):
        assert part in flat


def test_the_table_is_honest_and_takes_names_as_text(make_result: Callable[..., dict[str, Any]]) -> None:
    bad = make_result(student=0.78, alone=0.80)
    bad["name"], bad["teachers"][0]["name"] = "[red]x[/red]", "[/]"
    text = " ".join(printed(bad, 120).split())
    assert "Distillation did not pay here" in text
    assert "-0.020" in text
    assert "[red]x[/red]" in text
    assert "teacher [/]" in text


def test_the_table_of_the_barest_result() -> None:
    assert "0.500" in printed({"name": "bare", "metric": "accuracy", "value": 0.5})


def test_numbers_read_well() -> None:
    assert [share(x) for x in (0.47, 0.021, 0.995, 1.0, 0.0, -0.12, 1.3, None)] == [
        "47 %", "2.1 %", "99.5 %", "100 %", "0 %", "-12 %", "130 %", "-",
    ]  # fmt: skip
    assert [count(x) for x in (812, 184_000, 22_713_216, 1.5e9, None)] == ["812", "184 k", "22.7 M", "1.5 G", "-"]
    assert [difference(x) for x in (0.0364, -0.01, None)] == ["+0.036", "-0.010", "-"]


def test_the_interval_is_wilsons() -> None:
    """Its ends are where the normal test of the share just rejects: (p̂ − p)² = z² p (1 − p) / n."""
    for accuracy, rows in ((0.8, 872), (1.0, 50), (0.0, 10)):
        for end in interval(accuracy, rows):
            assert (accuracy - end) ** 2 == pytest.approx(1.96**2 * end * (1 - end) / rows, abs=1e-12)


def test_the_tables_of_the_other_commands() -> None:
    each = {"CPU": 1, "GPU": 0}
    training = {"steps": 469, "workers": 2, "worker_resources": each, "parameters": 1_530_000, "memory_mb": 23}
    served = {"replicas": 2, "resources": {"CPU": 0.5, "GPU": 0}, "rows": 3000}
    plan = {
        "name": "reviews",
        "task": {"type": "classification", "metric": "accuracy", "labels": ["negative", "positive"], "named": True},
        "rows": {"train": 3000, "validation": 600},
        "overlap": 0,
        "teachers": [
            {"name": "bert-a", "prepare": "finetune", **served, **training},
            {"name": "bert-b", "prepare": "given", **served, "parameters": 4_400_000, "memory_mb": 34},
        ],
        "student": {"name": "student", **training},
        "feedback": {
            "type": "metadistil", "teachers": ["bert-a"], "parameters": 1_530_000, "ranks": 2, "rounds": 117,
            "memory_mb": 58,
        },
        "baselines": {"alone": {"name": "alone", **training, "steps": 521}},
        "warnings": ["labels of bert-b are generic"],
    }  # fmt: skip
    texts = []
    for table in (
        plan_table(plan),
        teachers_table({"teachers": [{"name": "bert-a", "folder": "cache/teachers/ab12", "parameters": 1_530_000}]}),
        scores_table({"validation": {"accuracy": 0.8, "f1": 0.79}, "test": {"accuracy": 0.75, "f1": 0.7}}),
    ):
        file = io.StringIO()
        Console(file=file, width=110).print(table)
        texts.append(" ".join(file.getvalue().split()))
    for part in (
        "teacher bert-a, fine-tuned",
        "469",
        "2 replicas",
        "0.5 CPU",
        "34 MB",
        "baseline alone",
        "521",
        "bert-a learns by metadistil",
        "117 rounds",
        "2 ranks",
        "train 3,000",
    ):
        assert part in texts[0]
    assert "labels of bert-b are generic" in texts[0]
    assert "cache/teachers/ab12" in texts[1]
    assert "0.750" in texts[2]
