"""The student: one batch where the axes meet, and the driver of a whole run."""
