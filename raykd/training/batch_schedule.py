"""The global batches of a job: which rows each optimizer step sees, however many workers there are."""

from __future__ import annotations

import numpy as np

from raykd.data import order
from raykd.training.job import Job
from raykd.training.optim import steps_per_epoch


class BatchSchedule:
    """Holds the order of one epoch at a time."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.per_epoch = steps_per_epoch(len(job.train.ids), job.settings)
        self._epoch, self._order = -1, job.train.ids

    def batch(self, step: int) -> np.ndarray:
        """The ids of a step's global batch."""
        epoch, k = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            self._order = self.job.train.seen_in(epoch, self.job.settings, self.job.seed, self.job.labeled_share)
            self._epoch = epoch
        return order.batch(self._order, k, self.job.settings.batch_size)
