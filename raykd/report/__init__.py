"""What a person reads of a run: the table at its end, the page, its pictures, and the student's model card."""

from raykd.display.tables import final_table
from raykd.report.card import model_card
from raykd.report.page import render
from raykd.report.pictures import pictures, write_figures
from raykd.report.run_files import read_run

__all__ = ["final_table", "model_card", "pictures", "read_run", "render", "write_figures"]
