"""Tile shards as the source of pieces to embed."""
