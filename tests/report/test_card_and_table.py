"""The model card, the tables of the terminal, and the sentences that they share with the page."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from rich.console import Console, RenderableType

from raykd.display.tables import final_table, plan_table, scores_table, teachers_table
from raykd.display.text import count, difference, interval, margin, number, share
from raykd.records.run_result import Gap, RunResult
from raykd.report.card import model_card


def read_card(text: str) -> ModelCard:
    """The card as the hub's own library reads it."""
    return ModelCard(text)


def card_data(card: ModelCard) -> ModelCardData:
    """The card's front matter, typed as the hub's library fills it."""
    assert isinstance(card.data, ModelCardData)
    return card.data


def scores(card: ModelCard) -> dict[tuple[str, str], EvalResult]:
    return {(entry.dataset_split or "", entry.metric_type): entry for entry in card_data(card).eval_results or []}


def printed(table: RenderableType, width: int = 100) -> str:
    file = io.StringIO()
    Console(file=file, width=width).print(table)
    return file.getvalue()


def test_the_hub_reads_the_scores_from_the_card(policy_run: Path, result: RunResult) -> None:
    card = ModelCard.load(policy_run / "student" / "README.md")
    assert card.data.tags == ["raykd", "distillation"]
    assert card.data.pipeline_tag == "text-classification"
    assert card.data.metrics == ["accuracy", "f1", "matthews_correlation"]
    assert card.data.license is None
    entries = scores(card)
    assert result.test is not None
    assert {split for split, _ in entries} == {"validation", "test"}
    assert entries["validation", "accuracy"].metric_value == result.scores["accuracy"]
    assert entries["test", "matthews_correlation"].metric_value == result.test["matthews"]
    assert {(entry.task_type, entry.dataset_type) for entry in entries.values()} == {("text-classification", "reviews")}
    assert card.data.model_name == "reviews"


def test_the_card_has_results_how_it_was_made_and_how_to_use_it(policy_run: Path, result: RunResult) -> None:
    text = (policy_run / "student" / "README.md").read_text(encoding="utf-8")
    for part in (
        "| model | accuracy on test |",
        f"| **this student** | **{number((result.test or {})['accuracy'])}** |",
        f"on validation: accuracy {number(result.value)}",
        f"step {result.best_step:,} of {result.steps:,}",
        "AutoModelForSequenceClassification.from_pretrained",
        "max_length=24",
        "1 layer, 16 wide",
        "teachers `wordpiece` and `bpe`",
        "tokenizer `bpe`",
        "by a policy",
        "## Limits",
    ):
        assert part in text, part


def test_the_card_names_no_path_of_the_machine(policy_run: Path, result: RunResult, config: dict[str, Any]) -> None:
    text = (policy_run / "student" / "README.md").read_text(encoding="utf-8")
    assert "private" not in text  # the folder that `reviews` is in
    assert str(policy_run.parent) not in text
    config["student"] |= {"from": "/somewhere/private/small/", "layers": 2}
    config["teachers"][0]["model"]["tokenizer"] = "C:\\somewhere\\private\\tokens"
    config["teachers"][1]["model"]["from"] = "/somewhere/private/bpe-checkpoint"
    text = model_card(result.model_copy(update={"warnings": ["/somewhere/private/train.tsv: empty"]}), config)
    assert not re.search(r"somewhere|private", text)
    for name in ("`reviews`", "`bpe-checkpoint`", "`small`, cut to 2 layers", "`tokens`"):
        assert name in text
    card = read_card(text)
    assert card_data(card).base_model is None
    assert card_data(card).datasets is None


def test_the_card_names_the_hubs_models_and_data(result: RunResult, config: dict[str, Any]) -> None:
    config["student"] |= {"from": "some-lab/small", "layers": [0, 5]}
    config["data"] |= {"source": "some-lab/reviews", "subset": "en"}
    text = model_card(result, config)
    card = read_card(text)
    assert card_data(card).base_model == "some-lab/small"
    assert card_data(card).datasets == ["some-lab/reviews"]
    assert {(entry.dataset_type, entry.dataset_config) for entry in scores(card).values()} == {
        ("some-lab/reviews", "en")
    }
    assert "`some-lab/small`, cut to layers [0, 5]" in text


def test_the_code_in_the_card_is_python(result: RunResult, config: dict[str, Any]) -> None:
    for pair, labels in ((None, ["a", "b"]), ("second", None)):
        config["data"]["text_pair"] = pair
        text = model_card(result.model_copy(update={"labels": labels}), config)
        code = text.split("```python\n")[1].split("```")[0]
        compile(code, "card", "exec")
        assert ("a second sentence" in code) == (pair is not None)
        assert ("id2label" in code) == (labels is not None)


def test_the_card_of_a_regression(regression_run: Path) -> None:
    card = ModelCard.load(regression_run / "student" / "README.md")
    assert {"pearsonr", "spearmanr"} <= set(card.data.metrics or [])
    assert {metric for _, metric in scores(card)} == set(card.data.metrics or [])
    assert "text regression model" in card.text


def test_a_score_that_is_no_number_is_left_out(result: RunResult, config: dict[str, Any]) -> None:
    card = read_card(
        model_card(result.model_copy(update={"scores": {"accuracy": 0.5, "f1": None}, "test": None}), config)
    )
    assert list(scores(card)) == [("validation", "accuracy")]
    none = result.model_copy(update={"scores": {"accuracy": None}, "test": None})
    assert scores(read_card(model_card(none, config))) == {}


def test_names_cannot_break_the_cards_table_or_front_matter(result: RunResult, config: dict[str, Any]) -> None:
    teacher = result.teachers[0].model_copy(update={"name": "a|b`c\nd", "test": {"accuracy": 0.891}})
    text = model_card(
        result.model_copy(update={"teachers": [teacher], "labels": ["---", "x: [y", "{{ card }}"], "feedback": None}),
        config,
    )
    assert "| teacher `a\\|b'c d` | 0.891 |" in text
    assert "`{{ card }}`" in text
    assert card_data(read_card(text)).library_name == "transformers"


def test_the_card_says_how_much_of_the_gap_was_closed(result: RunResult, config: dict[str, Any]) -> None:
    closed = (0.834 - 0.798) / (0.891 - 0.798)
    gap = Gap(teacher=0.891, alone=0.798, student=0.834, closed=closed)
    text = model_card(result.model_copy(update={"value": 0.834, "gap": gap}), config)
    results = text.split("## Results")[1].split("## ")[0]
    assert f"closed {share(closed)} of the gap" in results
    assert "closed 39 %" in results
    assert "trained without a teacher (0.798)" in results
    assert "best teacher (0.891)" in results
    assert "| **this student** | **0.834** |" in results


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_table_has_teachers_baselines_student_gap_and_efficiency(result: RunResult, width: int) -> None:
    gap = Gap(teacher=0.891, alone=0.798, student=0.834, closed=(0.834 - 0.798) / (0.891 - 0.798))
    text = printed(final_table(result.model_copy(update={"value": 0.834, "gap": gap})), width)
    assert all(len(line) <= width for line in text.splitlines())
    flat = " ".join(text.split())
    assert result.test is not None
    alone = result.baselines["alone"].value
    for part in ("0.834", "+0.036", "39 % of the gap", number(result.test["accuracy"]), number(alone)):
        assert part in flat
    assert f"{share(result.efficiency.ratio)} of the same student" in flat


def test_the_table_has_the_test_values_first_and_those_that_chose_beside(result: RunResult) -> None:
    gap = Gap(split="test", teacher=0.9, alone=0.70, student=0.75, closed=0.25)
    changed = result.model_copy(update={"value": 0.83, "test": {"accuracy": 0.75}, "gap": gap})
    (line,) = [line for line in printed(final_table(changed), 140).splitlines() if "student" in line[:12]]
    assert line.split()[3:8:2] == ["0.750", "+0.050", "0.830"]


def test_the_table_tells_a_loss_and_takes_names_as_text(result: RunResult) -> None:
    teacher = result.teachers[0].model_copy(update={"name": "[/]"})
    gap = Gap(teacher=0.9, alone=0.80, student=0.78, closed=None)
    bad = result.model_copy(update={"name": "[red]x[/red]", "teachers": [teacher], "value": 0.78, "gap": gap})
    text = " ".join(printed(final_table(bad), 120).split())
    assert "did not pay" in text
    assert "-0.020" in text
    assert "[red]x[/red]" in text
    assert "teacher [/]" in text


def test_the_table_of_a_run_without_baselines_and_test(result: RunResult) -> None:
    gap = Gap(teacher=None, alone=None, student=0.5, closed=None)
    lean = result.model_copy(update={"value": 0.5, "teachers": [], "baselines": {}, "test": None, "gap": gap})
    assert "0.500" in printed(final_table(lean))


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


def test_only_an_accuracy_on_known_rows_has_a_margin() -> None:
    low, high = interval(0.8, 872)
    assert margin("accuracy", 0.8, 872) == pytest.approx((high - low) / 2)
    assert margin("f1", 0.8, 872) is None
    assert margin("accuracy", None, 872) is None
    assert margin("accuracy", 0.8, 0) is None


def test_the_tables_of_the_other_commands() -> None:
    each = {"CPU": 1, "GPU": 0}
    training = {"steps": 469, "workers": 2, "worker_resources": each, "parameters": 1_530_000, "memory_mb": 23}
    served = {"replicas": 2, "resources": {"CPU": 0.5, "GPU": 0}, "rows": 3000}
    plan = {
        "name": "reviews",
        "task": {"type": "classification", "metric": "accuracy", "labels": ["negative", "positive"], "named": True},
        "rows": {"train": 3000, "validation": 600},
        "overlap": 0,
        "groups": {"by": "document", "groups": 212, "inside": {"validation": 2}},
        "teachers": [
            {"name": "bert-a", "prepare": "finetune", **served, **training, "train_rows": 2700},
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
    teachers = {"teachers": [{"name": "bert-a", "folder": "cache/teachers/ab12", "parameters": 1_530_000}]}
    evaluated = {"validation": {"accuracy": 0.8, "f1": 0.79}, "test": {"accuracy": 0.75, "f1": 0.7}}
    planned = " ".join(printed(plan_table(plan), 110).split())
    for part in (
        "bert-a, fine-tuned on 2,700 rows",
        "469",
        "2 replicas",
        "0.5 CPU",
        "34 MB",
        "521",
        "117 rounds",
        "2 ranks",
    ):
        assert part in planned
    assert "metadistil" in planned
    assert "train 3,000" in planned
    assert "212 groups by the column document" in planned
    assert "labels of bert-b are generic" in planned
    assert "cache/teachers/ab12" in printed(teachers_table(teachers), 110)
    assert "0.750" in printed(scores_table(evaluated), 110)
