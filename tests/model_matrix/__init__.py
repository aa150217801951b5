"""Small random models of many architectures by every method and every engine: `make test-models`.

What is found is kept in docs/models.json, one line per cell, from which docs/models.md is made.
"""
