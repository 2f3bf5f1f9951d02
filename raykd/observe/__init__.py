"""What a run tells while it runs: its log of metrics and the live display. Seen by every room, and sees none."""

from raykd.observe.metrics_log import MetricsLog, read_events
from raykd.observe.progress import Progress

__all__ = ["MetricsLog", "Progress", "read_events"]
