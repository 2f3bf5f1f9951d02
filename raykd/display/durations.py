"""Seconds as a person reads them."""

from __future__ import annotations


def clock(seconds: float) -> str:
    """`0:07`, `12:30`, `1:02:03`: what a running display shows."""
    whole = max(0, round(seconds))
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def duration(seconds: float) -> str:
    """`0.4 s`, `42 s`, `2 min 5 s`, `1 h 20 min`: what a sentence says."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole // 60 % 60} min"
