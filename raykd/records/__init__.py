"""What a run leaves behind: events, the log, the result, and the folds that display, report and study read."""
