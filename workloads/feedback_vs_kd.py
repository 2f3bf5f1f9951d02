"""Shows: does a teacher that learns from its student teach better than a frozen one, or than one that is fine-tuned on?

Command:
    python -m raykd.workloads.feedback_vs_kd workloads/sst2.yaml runs/feedback --seeds 0,1,2,3,4 [KEY=VALUE]

Arms: `kd` (frozen teacher), `finetuned` (the teacher goes on with its own cross-entropy for as many steps, ω = 0),
`metadistil`, `centred` (the same without what all rows of a batch have in common) and `ikd`. Each has four points to be
tuned at, on one seed and on rows carved from train: `kd` the student's rate, the others the teacher's, at the student's
rate that was best for `kd`. The seeds are then scored on the published validation rows, and each arm is compared with
`kd` seed by seed. `kd` trains on the rows of the quiz too.
Every run is a folder of its own: interrupt it and give the command again, finished runs are not done again.
"""

from __future__ import annotations

import json
import logging
import statistics
from typing import Any

from raykd import config as configuration
from raykd import runtime

from .kd_vs_alone import choose, comparison, listed, run, summary

log = logging.getLogger(__name__)
RATES = ["1e-4", "2e-4", "4e-4", "8e-4"]
TEACHER_RATES = ["1e-2", "3e-2", "1e-1", "3e-1"]
SGD = "teacher_optimizer: sgd, every: 8, quiz_batches: 4"
ARMS = {
    "finetuned": [f"feedback={{type: metadistil, weight: 0, teacher_ce: 1, {SGD}}}"],
    "metadistil": [f"feedback={{type: metadistil, {SGD}}}"],
    "centred": [f"feedback={{type: metadistil, centred: true, {SGD}}}"],
    "ikd": [f"feedback={{type: ikd, {SGD}}}"],
}


def against(arm: dict[str, Any], kd: dict[str, Any]) -> dict[str, float]:
    """The differences from `kd` seed by seed: mean and deviation."""
    gaps = [mine - theirs for mine, theirs in zip(arm["values"], kd["values"], strict=True)]
    return {"mean": statistics.fmean(gaps), "sd": statistics.stdev(gaps) if len(gaps) > 1 else 0.0}


def main() -> None:
    """Tunes, runs the seeds, writes table.json."""
    parser = comparison(__doc__, RATES)
    parser.add_argument("--teacher-lrs", type=listed, default=TEACHER_RATES)
    parser.add_argument("--arms", type=listed, default=list(ARMS), help="beside kd")
    parser.add_argument("--start", type=int, default=0, help="first student step with feedback, of every arm")
    words, overrides = parser.parse_known_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    config, output = words.config, words.output
    table: dict[str, Any] = {}
    with runtime.connected(configuration.load(config, overrides)):
        lr = choose(config, output, "kd", "train.lr", words.lrs, overrides)
        fixed = [*overrides, f"train.lr={lr}"]
        for arm, settings in {"kd": list[str](), **{arm: ARMS[arm] for arm in words.arms}}.items():
            final, rate = [*fixed, *settings], ""
            if settings:
                final.append(f"feedback.start={words.start}")
                rate = choose(config, output, arm, "feedback.teacher_lr", words.teacher_lrs, final)
                final.append(f"feedback.teacher_lr={rate}")
            results = [run(config, output / f"{arm}-seed{seed}", [*final, f"seed={seed}"]) for seed in words.seeds]
            table[arm] = summary(results, lr)
            if settings:
                table[arm] |= {"teacher_lr": rate, "against_kd": against(table[arm], table["kd"])}
                table[arm]["teachers"] = [result["feedback"]["teachers"] for result in results]
                table[arm]["cosine_quiz"] = [result["feedback"]["cosine_quiz"] for result in results]
            (output / "table.json").write_text(json.dumps(table, indent=1), encoding="utf-8")
    log.info("%s", json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
