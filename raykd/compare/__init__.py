"""Compares runs by the rows that they answered: which differences are larger than chance in rows and draws."""
