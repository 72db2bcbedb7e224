"""Measuring what was learned: probes of frozen features."""
