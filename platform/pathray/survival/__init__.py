"""Survival: losses to train with, measures to judge by, curves to show."""
