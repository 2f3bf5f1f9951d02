"""Ensembles that outlive the run that started them: kept by an actor, found by name, used by any training loop."""
