"""`training.train.train`: the loop of a run, its steps, state and workers."""
