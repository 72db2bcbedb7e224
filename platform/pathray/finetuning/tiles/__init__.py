"""Models of single labelled tiles: probes of frozen vectors, or the whole encoder trained on."""
