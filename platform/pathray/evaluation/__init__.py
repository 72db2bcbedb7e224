"""Evaluation: who is trained on and who is tested, and what the tests say with intervals."""
