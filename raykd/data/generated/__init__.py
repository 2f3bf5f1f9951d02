"""The embedded corpus: generated reviews."""
