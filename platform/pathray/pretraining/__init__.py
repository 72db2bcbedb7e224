"""Pretraining of tile encoders: objectives, their data and the schedule of their training."""
