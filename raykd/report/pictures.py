"""Which pictures a run has, each with its title and the sentence that says how to read it."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from raykd.display.text import METRICS, number, validation_rows
from raykd.report.curves import Curves
from raykd.report.feedback_data import FeedbackData
from raykd.report.figures.canvas import LIGHT, Theme
from raykd.report.figures.feedback_figures import cosines, quiz_losses, teachers_over_steps
from raykd.report.figures.prediction_figures import confusion_matrix, predicted_true
from raykd.report.figures.training_figures import efficiency, loss_curves, metric_curves, value_comparison
from raykd.report.figures.weighting_figures import choices_over_steps, mind_and_reward, weights_by_group
from raykd.report.run_files import Run
from raykd.report.weighting_data import WeightingData


@dataclass(frozen=True)
class Picture:
    """A figure to be drawn in a theme; `wide` ones take the page's whole width."""

    name: str
    title: str
    caption: str
    draw: Callable[..., Figure]
    wide: bool = True
    part: str = "run"  # of the page: `taught` stand beside the words on what the teachers learnt

    def png(self, theme: Theme = LIGHT) -> bytes:
        """The figure as PNG."""
        out = io.BytesIO()
        self.draw(theme=theme).savefig(out, format="png")
        return out.getvalue()


def pictures(run: Run) -> list[Picture]:
    """The pictures for which the run has numbers, in reading order."""
    models = {"student": run.student, **run.baselines}
    made = [_comparison(run), _metric(run, models), _losses(models), *_answers(run), _efficiency(run)]
    made += [*_chosen(run), *_taught(run)]
    return [picture for picture in made if picture is not None]


def write_figures(folder: Path, made: Sequence[Picture]) -> dict[str, Path]:
    """Writes figures/NAME.png into a run's folder, in the light theme; returns the paths by name."""
    target = folder / "figures"
    target.mkdir(parents=True, exist_ok=True)
    paths = {picture.name: target / f"{picture.name}.png" for picture in made}
    for picture in made:
        paths[picture.name].write_bytes(picture.png())
    return paths


def _comparison(run: Run) -> Picture | None:
    value = run.result.get("value")
    teachers, baselines = _teacher_values(run), _baseline_values(run)
    if value is None or not (teachers or baselines):
        return None
    rows = validation_rows(run.result)
    caption = "Each dot is a model's result on validation"
    if run.metric == "accuracy" and rows:
        caption += ", the line through it its 95 % interval"
    if "alone" in baselines and teachers and max(teachers.values()) > baselines["alone"]:
        caption += "; the shaded band is the gap between the student alone and the best teacher, which is to be closed"
    draw = partial(value_comparison, teachers, baselines, value, run.metric, rows)
    return Picture("comparison", "Who reaches what", f"{caption}.", draw)


def _metric(run: Run, models: dict[str, Curves]) -> Picture | None:
    scores = {name: curves.scores for name, curves in models.items() if curves.scores}
    if not scores:
        return None
    name = METRICS.get(run.metric, run.metric)
    caption = f"Higher is better: the {name} on validation after so many steps, each model's best evaluation ringed"
    caption += "; the level dashed lines are the teachers." if _teacher_values(run) else "."
    draw = partial(metric_curves, scores, _teacher_values(run), run.metric)
    return Picture("metric", "How it got there", caption, draw)


def _losses(models: dict[str, Curves]) -> Picture | None:
    training = {name: curves.losses["loss"] for name, curves in models.items() if "loss" in curves.losses}
    if not training:
        return None
    parts = {key: series for key, series in models["student"].losses.items() if key != "loss"}
    validation = {name: curves.validation_loss for name, curves in models.items() if curves.validation_loss}
    caption = (
        "Left, what each model was trained on (the student's is a blend of its soft and hard loss, so the heights of "
        "different models do not compare); right, the loss against the labels, which does compare, and which rises "
        "where a model begins to learn its rows by heart."
    )
    return Picture("loss", "Loss", caption, partial(loss_curves, training, validation, parts))


def _answers(run: Run) -> list[Picture]:
    counts = run.result.get("confusion")
    if counts:
        caption = "Each row is a true class and adds up to all of its rows; what stands off the diagonal is a mistake."
        draw = partial(confusion_matrix, counts, run.result.get("labels") or [])
        return [Picture("confusion", "Where it errs", caption, draw, wide=False)]
    if run.answers is not None and len(run.answers[0]):
        caption = "Each dot is a validation row; on the dashed line the answer is exactly right."
        return [Picture("scatter", "Where it errs", caption, partial(predicted_true, *run.answers), wide=False)]
    return []


def _efficiency(run: Run) -> Picture | None:
    measured = run.result.get("efficiency", {})
    speed, train_s = measured.get("samples_per_s"), measured.get("train_s")
    if speed is None or train_s is None:
        return None
    waited = train_s * (measured.get("wait_share") or 0.0)
    seconds = {"soft targets": measured["targets_s"]} if measured.get("targets_s") is not None else {}
    seconds |= {"student waits": waited, "student learns": train_s - waited}
    ratio = measured.get("ratio")
    caption = "Left, the student's speed beside that of the same student without any teacher" + (
        f" (ratio {number(ratio)}, 1 would be a teacher that costs nothing)" if ratio is not None else ""
    )
    caption += "; right, what the time of the teachers' pass and the training went into."
    draw = partial(efficiency, speed, measured.get("student_only_samples_per_s"), seconds)
    return Picture("efficiency", "What the teachers cost", caption, draw)


def _chosen(run: Run) -> list[Picture]:
    """Who taught what, as far as it was logged."""
    at = WeightingData.of(run)
    if at is None:
        return []
    made = []
    shares = {name: series for name, series in at.share.items() if series}
    if shares:
        caption = (
            "How likely each teacher was to be chosen on the rows of each update, by the policy as it was after it; "
            "lines are running means. Choices are independent, so they need not add up to one."
        )
        made.append(Picture("choices", "Who was chosen", caption, partial(choices_over_steps, shares), part="chosen"))
    if at.entropy and at.rewards:
        caption = (
            "Left, how undecided the policy is: at the dashed line it tosses coins, at zero it always knows. Right, "
            "what it is rewarded with, which rises as the student learns, whoever teaches it."
        )
        draw = partial(mind_and_reward, at.entropy, at.undecided, at.rewards)
        made.append(Picture("mind", "The policy's mind and its reward", caption, draw, part="chosen"))
    if at.groups:
        what = "how likely each teacher is to be chosen" if at.policy else "each teacher's weight"
        caption = f"In per cent, {what} on the rows of a class, a domain, a length (in characters) at the end."
        draw = partial(weights_by_group, at.groups, at.teachers, "")
        made.append(Picture("groups", "Who teaches what", caption, draw, part="chosen"))
    return made


def _taught(run: Run) -> list[Picture]:
    """What the teachers learnt from the student, as far as it was logged."""
    at = FeedbackData.of(run)
    if at is None:
        return []
    scores = {one.name: one.scores for one in at.teachers if one.scores}
    drift = {one.name: one.drift for one in at.teachers if one.drift}
    quiz = {one.name: one.cosine_quiz for one in at.teachers if one.cosine_quiz}
    last = {one.name: one.cosine_last for one in at.teachers if one.cosine_last}
    step, rows = ("course step", "exam") if at.ikd else ("pilot", "quiz")
    made = []
    if scores or drift:
        caption = (
            "Left, how good each taught teacher is itself, the thin level line where it began; right, how far its "
            "weights are from where they began. Drift without a gain is a walk at random."
        )
        draw = partial(teachers_over_steps, scores, drift, run.metric)
        made.append(Picture("taught", "Whether it did the teachers good", caption, draw, part="taught"))
    if at.after or at.before:
        caption = (
            f"The student's loss on the {rows} rows before and after each {step}, and the one less the other: above "
            f"zero the {step} helped. Lines are running means, the faint ones behind them single rounds."
        )
        draw = partial(quiz_losses, at.before, at.after, at.gain, step)
        made.append(Picture("quiz", "What the student gave back", caption, draw, part="taught"))
    if quiz or last:
        caption = (
            "Cosines between gradients of the same teacher. Where two independent batches of the same round agree "
            "(above zero) there is a signal; at zero there is noise only. Successive ones agree where the teacher is "
            "led one way for long."
        )
        made.append(Picture("cosines", "Signal against noise", caption, partial(cosines, quiz, last), part="taught"))
    return made


def _teacher_values(run: Run) -> dict[str, float]:
    teachers = run.result.get("teachers", [])
    return {str(one["name"]): one["metric"] for one in teachers if one.get("metric") is not None}


def _baseline_values(run: Run) -> dict[str, float]:
    baselines = run.result.get("baselines", {})
    return {str(name): one["value"] for name, one in baselines.items() if one.get("value") is not None}
