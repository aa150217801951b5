"""One room a step: the KFP door in component.py, the work in plain Python beside it."""
