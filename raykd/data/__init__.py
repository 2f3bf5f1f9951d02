"""Rows: where they come from, which of them feed what, in which order, as which tokens, and how answers are scored.

Nothing is imported here, so that `raykd.data.order` and `raykd.data.corpus` stay free of torch.
"""
