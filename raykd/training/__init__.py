"""Training one model on one or several workers, whatever its loss: used for students, baselines and teachers alike."""
