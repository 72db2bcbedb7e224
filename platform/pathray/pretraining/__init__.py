"""Self-supervised pretraining of tile encoders."""
