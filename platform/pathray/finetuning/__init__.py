"""Fine-tuning: from bags of embeddings and a clinical cohort to judged fold models.

`recipe` says how, `task` what is learned, `training` trains one fold's model, `fold` makes all
that a fold yields, `result` is what a whole run leaves for its report.
"""
