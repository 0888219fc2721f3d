"""Pictures of runs and of classifiers, and the table of runs over seeds."""
