"""The model card of a distilled student: README.md with the scores as the hub reads them; names only, no local path."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from raykd.config import described, title_of
from raykd.display.text import (
    BASELINES,
    TRAINED,
    before_and_after,
    caution,
    count,
    layers,
    metric_name,
    number,
    plural,
    reached,
    tuned_teachers,
    verdict,
)
from raykd.records.events import Scores
from raykd.records.run_result import EndpointResult, RunResult, TeacherResult

Config = dict[str, Any]

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
HUB_METRICS = {"matthews": "matthews_correlation", "pearson": "pearsonr", "spearman": "spearmanr"}
EMBEDDED = "embedded corpus of generated reviews"
TASK = "text-classification"


@dataclass(frozen=True)
class CardView:
    """What the card's template shows.

    Attributes:
        steps: how it was made, in lines.
        metric: with the split that it is reported on.
        rows: (model, value).
        classes: whether it answers with a class, and not with a number.
    """

    name: str
    description: str
    steps: list[str]
    metric: str
    rows: list[tuple[str, str]]
    outcome: str
    text_pair: bool
    classes: bool
    max_length: int
    seed: int


def model_card(result: RunResult, config: Config) -> str:
    """The text of student/README.md.

    Args:
        result: of a run, or of a trial that won a study.
        config: the run's configuration as a mapping (`model_dump(mode="json", by_alias=True)`).
    """
    template = str(files("raykd.report") / "templates" / "card.md.j2")
    card = ModelCard.from_template(_card_data(result, config), template_path=template, card=_view(result, config))
    return f"{card}\n"


def _card_data(result: RunResult, config: Config) -> ModelCardData:
    """The front matter: the hub shows the model's scores from it."""
    base, source = config["student"]["from"], config["data"]["source"]
    scores = [*_eval_results(result.scores, "validation", config), *_eval_results(result.test or {}, "test", config)]
    return ModelCardData(
        model_name=result.name,
        library_name="transformers",
        pipeline_tag=TASK,
        tags=["raykd", "distillation"],
        metrics=[HUB_METRICS.get(name, name) for name in result.scores],
        base_model=base if _on_hub(base) else None,
        datasets=[source] if _on_hub(source) and source != "generated" else None,
        eval_results=scores or None,
    )


def _eval_results(scores: Scores, split: str, config: Config) -> list[EvalResult]:
    data = config["data"]
    embedded = data["source"] == "generated"
    return [
        EvalResult(
            task_type=TASK,
            dataset_type="generated" if embedded else _name(data["source"]),
            dataset_name=EMBEDDED if embedded else _name(data["source"]),
            dataset_config=data["subset"],
            dataset_split=split,
            metric_type=HUB_METRICS.get(name, name),
            metric_name=metric_name(name),
            metric_value=value,
        )
        for name, value in scores.items()
        if value is not None
    ]


def _view(result: RunResult, config: Config) -> CardView:
    return CardView(
        name=_inline(result.name),
        description=_description(result, config),
        steps=_steps(result, config),
        metric=f"{metric_name(result.metric)} on {result.reported_split}",
        rows=_rows(result),
        outcome=_outcome(result),
        text_pair=bool(config["data"]["text_pair"]),
        classes=bool(result.labels),
        max_length=config["data"]["max_length"],
        seed=result.seed,
    )


def _description(result: RunResult, config: Config) -> str:
    kind = "a text regression model" if config["task"]["type"] == "regression" else "a text classifier"
    shape = layers(result.student.layers, result.student.hidden_size)
    size = f"{count(result.student.parameters)} parameters" + (f" ({shape})" if shape else "")
    labels = ", ".join(f"`{_inline(label)}`" for label in result.labels or [])
    classes = f" for the classes {labels}" if labels else ""
    return f"This is {kind}{classes} with {size}, distilled from {_teachers(result)} with raykd.\n\n{reached(result)}"


def _teachers(result: RunResult) -> str:
    names = [f"`{_inline(teacher.name)}`" for teacher in result.teachers]
    if len(names) < 2:
        return f"the teacher {names[0]}" if names else "its teachers"
    return f"the teachers {', '.join(names[:-1])} and {names[-1]}"


def _steps(result: RunResult, config: Config) -> list[str]:
    objective, train, data = config["objective"], config["train"], config["data"]
    domain = f" of the domain {_inline(result.data.target_domain)}" if result.data.target_domain else ""
    rows = f"{result.splits['train'].rows:,} training rows{domain}, " if "train" in result.splits else ""
    soft = _inline(described("objective", objective, beside=("alpha", "features")))
    versions = ", ".join(f"{_inline(name)} {_inline(version)}" for name, version in result.versions.items())
    return [
        f"Data: {_source(data)}, {rows}up to {data['max_length']} tokens each",
        f"Student: {_model(config['student'])}",
        *_teacher_lines(result, config),
        *_feedback_line(result),
        f"Loss: alpha * soft + (1 - alpha) * hard with alpha = {objective['alpha']:g}; soft: {soft}",
        f"Weighting of the teachers: {_weighting(result, config)}",
        f"Training: {train['epochs']} epochs, batches of {train['batch_size']}, AdamW, learning rate {train['lr']:g}, "
        f"{train['schedule']} decay; step {result.best_step:,} of {result.steps:,} was the best on validation",
        f"Seed {result.seed}; {versions}",
    ]


def _teacher_lines(result: RunResult, config: Config) -> list[str]:
    known = {teacher.name: teacher for teacher in result.teachers}
    lines = []
    for k, teacher in enumerate(config["teachers"]):
        name = teacher["name"] or f"teacher{k}"
        sized = name in known and known[name].parameters is not None
        size = f", {count(known[name].parameters)} parameters" if sized else ""
        fitted = ", ".join(result.seen.get(name, [])) if result.data.target_domain else "the training rows"
        how = TRAINED.get(teacher["prepare"])
        prepared = f", {how} on {_inline(fitted)}" if how else ""
        endpoint = known[name].endpoint if name in known else None
        what = _model(teacher["model"]) if "model" in teacher else _endpoint(endpoint)
        lines.append(f"Teacher `{_inline(name)}`: {what}{size}{prepared}")
    return lines


def _feedback_line(result: RunResult) -> list[str]:
    feedback = result.feedback
    if feedback is None:
        return []
    names = [f"`{_inline(name)}`" for name in feedback.teachers]
    who = f"the {'teachers' if len(names) > 1 else 'teacher'} {' and '.join(names)}" if names else "its teachers"
    surrogate = f"; {_inline(feedback.surrogate)}" if feedback.surrogate else ""
    method, rounds = title_of("feedback", feedback.type, cited=True), plural(feedback.rounds, "round")
    return [f"Feedback: {who} trained on feedback from the student by {method} in {rounds}{surrogate}"]


def _weighting(result: RunResult, config: Config) -> str:
    rule, weighting = config["weighting"]["type"], result.weighting
    if rule != "policy" or weighting is None or weighting.updates is None:
        return _inline(described("weighting", config["weighting"]))
    return f"row by row by a policy (RL-KD, {plural(weighting.updates, 'update')}, reward {weighting.reward})"


def _endpoint(endpoint: EndpointResult | None) -> str:
    """What a server serves; its address is nobody else's business."""
    if endpoint is None:
        return "a server that was asked over HTTP"
    revision = f", revision `{_inline(endpoint.revision)}`" if endpoint.revision is not None else ""
    return f"`{_inline(endpoint.model)}`{revision}, a server that was asked over HTTP for {endpoint.outputs}"


def _model(spec: Config) -> str:
    kept = spec["layers"]
    if spec["from"]:
        cut = f"layers {kept}" if isinstance(kept, list) else layers(kept)
        return f"`{_name(spec['from'])}`" + (f", cut to {cut}" if kept is not None else "")
    return f"fresh weights, {layers(kept, spec['hidden_size'])}, tokenizer `{_name(spec['tokenizer'])}`"


def _source(data: Config) -> str:
    if data["source"] == "generated":
        return f"the {EMBEDDED}"
    subset = f" (`{_inline(data['subset'])}`)" if data["subset"] else ""
    return f"`{_name(data['source'])}`{subset}"


def _rows(result: RunResult) -> list[tuple[str, str]]:
    rows = [(f"teacher `{_cell(teacher.name)}`", _teacher_value(teacher, result)) for teacher in result.teachers]
    for name, baseline in result.baselines.items():
        named = "; ".join([BASELINES.get(name, name), *tuned_teachers(result, baseline)])
        rows.append((_cell(named), number(result.reported_value(baseline))))
    return [*rows, ("**this student**", f"**{number(result.reported_value(result))}**")]


def _teacher_value(teacher: TeacherResult, result: RunResult) -> str:
    trained = before_and_after(result, teacher.name)
    if trained is None:
        return number(result.reported_value(teacher))
    validation = f"{number(trained[0])} → {number(trained[1])}"
    if result.reported_split == "validation":
        return f"{validation}, trained by feedback"
    return f"{number(result.reported_value(teacher))}, before feedback; on validation {validation}"


def _outcome(result: RunResult) -> str:
    sentences = [sentence for sentence in (verdict(result).sentence, caution(result)) if sentence]
    scores = result.reported_scores(result)
    others = {name: value for name, value in scores.items() if name != result.metric}
    if others:
        sentences.append(f"Other scores: {_written(others)}.")
    if result.reported_split == "test":
        sentences.append(f"The test split was scored once, at the end; on validation: {_written(result.scores)}.")
    elif result.test:
        sentences.append(f"Test split, scored once at the end: {_written(result.test)}.")
    return " ".join(sentences)


def _written(scores: Scores) -> str:
    return ", ".join(f"{metric_name(name)} {number(value)}" for name, value in scores.items())


def _on_hub(name: Any) -> bool:
    """Whether it reads as a hub name and is no folder or file here."""
    return isinstance(name, str) and HUB_NAME.fullmatch(name) is not None and not Path(name).exists()


def _name(name: str) -> str:
    """A hub name as it is; of a local path the last part only."""
    return _inline(name if _on_hub(name) else re.split(r"[/\\]", name.rstrip("/\\"))[-1])


def _inline(text: str) -> str:
    """Text within a line of Markdown: one line, no backtick that would end code."""
    return " ".join(text.replace("`", "'").split())


def _cell(text: str) -> str:
    return _inline(text).replace("|", "\\|")
