"""Clinical data: what is known of the patients, joined to the slides that have embeddings."""
