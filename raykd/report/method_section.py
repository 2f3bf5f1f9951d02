"""The page's account of how the student was trained: loss, weighting of the teachers, feedback, with their sources."""

from __future__ import annotations

from raykd.config import described, title_of
from raykd.display.features_text import cost, matched
from raykd.report.run_files import Run
from raykd.report.views import Section


def method_section(run: Run) -> Section | None:
    """None where the folder has no configuration with a loss."""
    objective, weighting, feedback = (run.config.get(name) for name in ("objective", "weighting", "feedback"))
    if not isinstance(objective, dict) or "type" not in objective:
        return None
    sentences = [f"Soft loss: {described('objective', objective, beside=('alpha', 'features'))}."]
    alpha = objective.get("alpha")
    if isinstance(alpha, (int, float)):
        sentences.insert(0, f"Loss: {alpha:g} × soft loss + {1 - alpha:g} × loss on the labels.")
    if run.result is not None and run.result.features is not None:
        features = run.result.features
        sentences.append(f"Features of teacher {features.teacher}: {matched(features)}; {cost(features)}.")
    if isinstance(weighting, dict) and weighting.get("type"):
        # A policy has twenty keys; they are in the configuration below.
        policy = weighting["type"] == "policy"
        how = title_of("weighting", "policy", cited=True) if policy else described("weighting", weighting)
        sentences.append(f"Weights of the teachers: {how}.")
    if isinstance(feedback, dict) and feedback.get("type", "none") != "none":
        sentences.append(f"Feedback to the teachers: {title_of('feedback', feedback['type'], cited=True)}.")
    return Section("Method", [" ".join(sentences)])
