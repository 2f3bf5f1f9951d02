"""Which pictures a run has, each with its title and the sentence that says how to read it."""

from __future__ import annotations

from functools import partial

from raykd.display.text import metric_name, number
from raykd.records.run_state import LOSSES, TrainingState
from raykd.report.feedback_data import FeedbackData
from raykd.report.figures.feedback_figures import cosines, quiz_losses, teachers_over_steps
from raykd.report.figures.picture import Picture
from raykd.report.figures.prediction_figures import confusion_matrix, predicted_true
from raykd.report.figures.training_figures import efficiency, loss_curves, metric_curves, value_comparison
from raykd.report.figures.weighting_figures import policy_curves, shares_over_steps, weights_by_group
from raykd.report.run_files import Run
from raykd.report.weighting_data import WeightingData


def run_pictures(run: Run) -> list[Picture]:
    """The pictures for which the run has numbers, in reading order."""
    models = {"student": run.state.student, **run.state.baselines}
    return [
        *_comparison(run),
        *_metric(run, models),
        *_losses(models),
        *_predictions(run),
        *_efficiency(run),
        *_weighting(run),
        *_feedback(run),
    ]


def _comparison(run: Run) -> list[Picture]:
    result = run.result
    if result is None:
        return []
    teachers = _known({teacher.name: result.reported_value(teacher) for teacher in result.teachers})
    baselines = _known({name: result.reported_value(baseline) for name, baseline in result.baselines.items()})
    value, split = result.reported_value(result), result.reported_split
    if value is None or not (teachers or baselines):
        return []
    rows = result.rows_of(split)
    caption = f"Each dot is a model's result on {split}"
    if run.metric == "accuracy" and rows:
        caption += ", the line through it its 95 % interval"
    if "alone" in baselines and teachers and max(teachers.values()) > baselines["alone"]:
        caption += "; the shaded band is the gap between the student alone and the best teacher"
    draw = partial(value_comparison, teachers, baselines, value, run.metric, rows)
    return [Picture("comparison", f"Results on {split}", f"{caption}.", draw)]


def _metric(run: Run, models: dict[str, TrainingState]) -> list[Picture]:
    scores = {name: training.series["value"] for name, training in models.items() if training.series["value"]}
    if not scores:
        return []
    teachers = _teacher_values(run)
    caption = f"The {metric_name(run.metric)} on validation, higher is better; each model's best evaluation is ringed"
    caption += ", the level dashed lines are the teachers." if teachers else "."
    draw = partial(metric_curves, scores, teachers, run.metric)
    return [Picture("metric", "Validation metric during training", caption, draw)]


def _losses(models: dict[str, TrainingState]) -> list[Picture]:
    training = {name: model.series["loss"] for name, model in models.items() if model.series["loss"]}
    if not training:
        return []
    parts = {name: models["student"].series[name] for name in LOSSES[1:] if models["student"].series[name]}
    validation = {
        name: model.series["validation_loss"] for name, model in models.items() if model.series["validation_loss"]
    }
    caption = (
        "Left, the loss that each model minimises on its training batches; the student's blends its soft and its hard "
        "loss and adds its features, so different models do not compare. Right, the loss against the labels on "
        "validation, which does compare, and which rises where a model overfits."
    )
    return [Picture("loss", "Loss", caption, partial(loss_curves, training, validation, parts))]


def _predictions(run: Run) -> list[Picture]:
    if run.result and run.result.confusion:
        caption = "Each row is a true class and adds up to all of its rows; the diagonal is right, the rest are errors."
        draw = partial(confusion_matrix, run.result.confusion, run.result.labels or [])
        return [Picture("confusion", "Confusion matrix", caption, draw, wide=False)]
    if run.predictions is not None and len(run.predictions[0]):
        caption = "Each dot is a validation row; on the dashed line the prediction is exactly right."
        draw = partial(predicted_true, *run.predictions)
        return [Picture("scatter", "Predicted and true values", caption, draw, wide=False)]
    return []


def _efficiency(run: Run) -> list[Picture]:
    if run.result is None:
        return []
    measured = run.result.efficiency
    waited = measured.train_s * measured.wait_share
    seconds = {} if measured.targets_s is None else {"soft targets": measured.targets_s}
    seconds |= {"waiting for targets": waited, "training": measured.train_s - waited}
    caption = (
        f"Left, the student's speed beside that of the same student without a teacher (ratio {number(measured.ratio)}, "
        "1 is a teacher that costs nothing); right, what the time of the teachers' pass and the training was spent on."
    )
    draw = partial(efficiency, measured.samples_per_s, measured.student_only_samples_per_s, seconds)
    return [Picture("efficiency", "Speed and time", caption, draw)]


def _weighting(run: Run) -> list[Picture]:
    """How the teachers were weighted, as far as it was logged."""
    data = WeightingData.of(run)
    if data is None:
        return []
    pictures: list[Picture] = []
    shares = {name: series for name, series in data.policy.share.items() if series} if data.policy else {}
    if shares:
        caption = (
            "How likely each teacher was to be chosen, on the rows of each update of the policy; lines are running "
            "means. Each teacher is chosen or not on its own, so they need not add up to one."
        )
        draw = partial(shares_over_steps, shares)
        pictures.append(Picture("teacher_shares", "Probability of being chosen", caption, draw, "weighting"))
    if data.policy and data.policy.entropy and data.policy.reward:
        caption = (
            "Left, the policy's entropy: at the dashed line it is uniform, at zero deterministic. Right, its reward, "
            "which rises as the student improves, whichever teachers are chosen."
        )
        uniform = data.result.entropy_uniform if data.result else None
        draw = partial(policy_curves, data.policy.entropy, uniform, data.policy.reward)
        pictures.append(Picture("policy", "Entropy and reward of the policy", caption, draw, "weighting"))
    if data.groups:
        what = "how likely each teacher is to be chosen" if data.by_policy else "each teacher's weight"
        caption = f"In per cent, {what} at the end, on the rows of a class, a domain, a length (in characters)."
        draw = partial(weights_by_group, data.largest_groups, data.teachers)
        pictures.append(Picture("weights_by_group", "Weights by group of rows", caption, draw, "weighting"))
    return pictures


def _feedback(run: Run) -> list[Picture]:
    """What feedback did to the teachers, as far as it was logged."""
    data = FeedbackData.of(run)
    if data is None:
        return []
    curves = {teacher.name: teacher.state for teacher in data.teachers}
    scores = {name: state.value(run.metric) for name, state in curves.items() if state.value(run.metric)}
    drift = {name: state.drift for name, state in curves.items() if state.drift}
    quiz = {name: state.cosine_quiz for name, state in curves.items() if state.cosine_quiz}
    last = {name: state.cosine_last for name, state in curves.items() if state.cosine_last}
    before, after = data.state.before, data.state.after
    pictures: list[Picture] = []
    if scores or drift:
        caption = (
            "Left, the validation metric of each teacher under feedback, the thin level line where it began; right, "
            "the distance of its weights from where they began. Drift without a gain is a random walk."
        )
        draw = partial(teachers_over_steps, scores, drift, run.metric)
        pictures.append(Picture("teachers_under_feedback", "Teachers under feedback", caption, draw, "feedback"))
    if before or after:
        step = "pilot step" if data.pilot else "step of the student"
        caption = (
            f"The student's loss on the quiz rows before and after each {step}, and the difference: above zero the "
            "step lowered it. Lines are running means, the faint ones behind them single rounds."
        )
        draw = partial(quiz_losses, before, after, before.minus(after))
        pictures.append(Picture("quiz_loss", "Loss on the quiz rows", caption, draw, "feedback"))
    if quiz or last:
        caption = (
            "Cosines between gradients of the same teacher: of two independent quiz batches of a round, and of a round "
            "and the one measured before it. Above zero they share a signal; around zero there is only noise."
        )
        draw = partial(cosines, quiz, last)
        pictures.append(Picture("cosines", "Agreement of the gradients", caption, draw, "feedback"))
    return pictures


def _teacher_values(run: Run) -> dict[str, float]:
    teachers = run.result.teachers if run.result else []
    return _known({teacher.name: teacher.metric for teacher in teachers})


def _known(values: dict[str, float | None]) -> dict[str, float]:
    return {name: value for name, value in values.items() if value is not None}
