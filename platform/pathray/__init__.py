"""Pathray's library: slides, tissue, tiles, encoders and models of cancer histology.

It knows pathology and models; it knows no Ray and no HTTP.
"""

__version__ = "0.1.0"
