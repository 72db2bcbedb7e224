"""Figures, one a file: each is a function from a run's result to a `Figure`."""
