"""Whole-slide images: opening them, finding tissue, laying the grid, cutting tiles."""
