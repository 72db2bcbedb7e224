"""Measurements of Pathray beside what the field uses today; `make bench` runs them all."""
