"""Multiple-instance learning: from the tile embeddings of slides to slide-level models.

`bagfiles` finds embeddings, `store` packs a cohort's into one memory map, `bags` and
`batches` cut batches out of it, `aggregators` are the models, `head` writes one down.
"""
