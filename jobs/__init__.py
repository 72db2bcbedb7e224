"""Batch jobs: how the library's pieces are spread over a Ray cluster, and the command."""
