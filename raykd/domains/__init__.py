"""One student for each domain of a data set, on shared teachers: many runs of one configuration, side by side."""
