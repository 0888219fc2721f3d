"""A training run: settings, recipes, steps, checkpoints, workers, and the run folder."""
