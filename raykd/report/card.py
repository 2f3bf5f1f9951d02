"""The model card of a distilled student: README.md with YAML front matter; names only, no path of the machine."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from raykd.config import title_of
from raykd.display.text import BASELINES, METRICS, caution, count, layers, number, reached, taught, verdict

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
HUB_METRICS = {"matthews": "matthews_correlation", "pearson": "pearsonr", "spearman": "spearmanr"}


def model_card(result: dict[str, Any], config: dict[str, Any]) -> str:
    """The text of student/README.md.

    Args:
        result: a result.json.
        config: the run's configuration as a mapping (`model_dump(mode="json", by_alias=True)`).
    """
    parts = [
        _front_matter(result, config),
        f"# {_inline(result.get('name', 'student'))}",
        _what(result, config),
        "## How it was made\n\n" + _made(result, config),
        "## Results\n\n" + _numbers(result),
        "## How to use it\n\n" + _use(result, config),
        "## Limits\n\n" + _limits(result, config),
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(result: dict[str, Any], config: dict[str, Any]) -> str:
    scores = result.get("scores") or {result.get("metric", "accuracy"): None}
    fields: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": "text-classification",
        "tags": ["raykd", "distillation"],
        "metrics": [HUB_METRICS.get(name, name) for name in scores],
    }
    base, source = config.get("student", {}).get("from"), config.get("data", {}).get("source")
    if _on_hub(base):
        fields["base_model"] = base
    if _on_hub(source) and source != "generated":
        fields["datasets"] = [source]
    return f"---\n{yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)}---"


def _what(result: dict[str, Any], config: dict[str, Any]) -> str:
    student, task = result.get("student", {}), config.get("task", {}).get("type", "classification")
    labels = result.get("labels")
    kind = "a text regression model" if task == "regression" else "a text classifier"
    size = f" with {count(student['parameters'])} parameters" if student.get("parameters") else ""
    shape = f" ({layers(student)})" if student.get("layers") else ""
    named = f" for the classes {', '.join(f'`{_inline(label)}`' for label in labels)}" if labels else ""
    return f"This is {kind}{named}{size}{shape}, distilled from {_teachers(result)} with raykd.\n\n{reached(result)}"


def _teachers(result: dict[str, Any]) -> str:
    names = [f"`{_inline(str(one['name']))}`" for one in result.get("teachers", [])]
    return (
        "its teachers"
        if not names
        else f"the teacher {names[0]}"
        if len(names) == 1
        else (f"the teachers {', '.join(names[:-1])} and {names[-1]}")
    )


def _made(result: dict[str, Any], config: dict[str, Any]) -> str:
    objective, train, data = (config.get(key, {}) for key in ("objective", "train", "data"))
    loss = objective.get("type", "kl")
    soft = title_of("objective", loss) + (
        f" at temperature {objective.get('temperature', 2):g}" if loss == "kl" else ""
    )
    lines = [
        f"- Data: {_source(data)}, {result.get('splits', {}).get('train', {}).get('rows', 0):,} training rows, "
        f"up to {data.get('max_length', '?')} tokens each",
        f"- Student: {_model(config.get('student', {}))}",
        *(_teacher_line(one, result) for one in _named_teachers(config)),
        *_feedback_line(result),
        f"- Loss: alpha * soft + (1 - alpha) * hard with alpha = {objective.get('alpha', 0.5):g}; soft: {soft}",
        f"- Blend of the teachers: {_blend(config, result)}",
        f"- Training: {train.get('epochs', '?')} epochs, batches of {train.get('batch_size', '?')}, AdamW, "
        f"learning rate {train.get('lr', 0):g}, {train.get('schedule', 'linear')} decay; "
        f"step {result.get('best_step', 0):,} of {result.get('steps', 0):,} was the best on validation",
        f"- Seed {result.get('seed', 0)}; "
        + ", ".join(f"{_inline(str(name))} {_inline(str(one))}" for name, one in result.get("versions", {}).items()),
    ]
    return "\n".join(lines)


def _named_teachers(config: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(one.get("name") or f"teacher{k}", one) for k, one in enumerate(config.get("teachers", []))]


def _teacher_line(named: tuple[str, dict[str, Any]], result: dict[str, Any]) -> str:
    name, one = named
    how = ", fine-tuned on the training rows" if one.get("prepare") == "finetune" else ""
    found: dict[str, Any] = next((item for item in result.get("teachers", []) if item["name"] == name), {})
    size = f", {count(found['parameters'])} parameters" if found.get("parameters") else ""
    return f"- Teacher `{_inline(name)}`: {_model(one.get('model', one))}{size}{how}"


def _blend(config: dict[str, Any], result: dict[str, Any]) -> str:
    rule = config.get("weighting", {}).get("type", "uniform")
    said = result.get("weighting") or {}
    if rule != "policy" or not said:
        return title_of("weighting", rule)
    return f"row by row by a policy (RL-KD, {said.get('updates', 0):,} updates, reward {said.get('reward', '')})"


def _feedback_line(result: dict[str, Any]) -> list[str]:
    said = result.get("feedback")
    if not said:
        return []
    names = [f"`{_inline(name)}`" for name in said.get("teachers") or {}]
    who = f"the {'teachers' if len(names) > 1 else 'teacher'} {' and '.join(names)}" if names else "its teachers"
    kind = str(said.get("type", ""))
    rounds = f" in {said['rounds']:,} rounds" if said.get("rounds") else ""
    surrogate = f"; {_inline(said['surrogate'])}" if said.get("surrogate") else ""
    return [f"- Feedback: {who} learnt from the student by {title_of('feedback', kind, cited=True)}{rounds}{surrogate}"]


def _model(spec: dict[str, Any]) -> str:
    if spec.get("from"):
        kept = spec.get("layers")
        cut = f"layers {kept}" if isinstance(kept, list) else layers({"layers": kept})
        return f"`{_name(spec['from'])}`" + (f", cut to {cut}" if kept is not None else "")
    return f"fresh weights, {layers(spec)}, tokenizer `{_name(str(spec.get('tokenizer', 'wordpiece')))}`"


def _source(data: dict[str, Any]) -> str:
    source = data.get("source", "")
    if source == "generated":
        return "the embedded corpus of generated reviews"
    subset = f" (`{_inline(data['subset'])}`)" if data.get("subset") else ""
    return f"`{_name(source)}`{subset}"


def _numbers(result: dict[str, Any]) -> str:
    metric = result.get("metric", "accuracy")
    lines = [f"| model | {METRICS.get(metric, metric)} on validation |", "|---|---|"]
    lines += [
        f"| teacher `{_cell(str(one['name']))}` | {_teacher_value(one, result)} |" for one in result.get("teachers", [])
    ]
    lines += [
        f"| {_cell(BASELINES.get(name, name))} | {number(one.get('value'))} |"
        for name, one in result.get("baselines", {}).items()
    ]
    lines.append(f"| **this student** | **{number(result.get('value'))}** |")
    said = [part for part in (verdict(result).sentence, caution(result)) if part]
    others = {name: value for name, value in result.get("scores", {}).items() if name != metric}
    if others:
        said.append("Also: " + ", ".join(f"{METRICS.get(k, k)} {number(v)}" for k, v in others.items()) + ".")
    if result.get("test"):
        test = ", ".join(f"{METRICS.get(k, k)} {number(v)}" for k, v in result["test"].items())
        said.append(f"Test split, scored once at the end: {test}.")
    return "\n".join(lines) + "\n\n" + " ".join(said)


def _teacher_value(one: dict[str, Any], result: dict[str, Any]) -> str:
    learnt = taught(result, str(one["name"]))
    return number(one.get("metric")) if learnt is None else f"{number(learnt[0])} → {number(learnt[1])}, taught"


def _use(result: dict[str, Any], config: dict[str, Any]) -> str:
    pair = ', "a second sentence"' if config.get("data", {}).get("text_pair") else ""
    length = config.get("data", {}).get("max_length", 128)
    answer = (
        "print(model.config.id2label[int(logits.argmax(-1))])" if result.get("labels") else "print(float(logits[0, 0]))"
    )
    return f"""```python
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

folder = "student"  # the folder of this file
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForSequenceClassification.from_pretrained(folder).eval()

encoded = tokenizer("a sentence"{pair}, truncation=True, max_length={length}, return_tensors="pt")
with torch.no_grad():
    logits = model(**encoded).logits
{answer}
```"""


def _limits(result: dict[str, Any], config: dict[str, Any]) -> str:
    length = config.get("data", {}).get("max_length", 128)
    return "\n".join(
        [
            "- It was made for texts like its training rows; other domains, registers or languages were not tested.",
            f"- Texts are cut after {length} tokens.",
            "- It copies its teachers: their mistakes and biases are likely to be its own.",
            "- The validation split also chose the best checkpoint, so its figures are slightly flattering.",
            f"- One run with seed {result.get('seed', 0)}; another seed would give somewhat other figures.",
        ]
    )


def _on_hub(name: Any) -> bool:
    """Whether it reads as a hub name and is no folder or file here."""
    return isinstance(name, str) and HUB_NAME.fullmatch(name) is not None and not Path(name).exists()


def _name(name: str) -> str:
    """A hub name as it is; of a local path the last part only."""
    return _inline(name if _on_hub(name) else re.split(r"[/\\]", name.rstrip("/\\"))[-1])


def _inline(text: Any) -> str:
    """Text within a line of Markdown: one line, no backtick that would end code."""
    return " ".join(str(text).replace("`", "'").split())


def _cell(text: str) -> str:
    return _inline(text).replace("|", "\\|")
