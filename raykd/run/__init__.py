"""A whole run: from a configuration to a folder with a student, its baselines and their result."""
