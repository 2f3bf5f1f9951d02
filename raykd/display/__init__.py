"""The terminal: live progress, tables, and how numbers and verdicts are worded for a person."""
