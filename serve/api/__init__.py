"""The HTTP API: one file a group of routes. Knows no Ray."""
