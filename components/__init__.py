"""The KFP components of the pipeline, one folder per step. They import and call; the work is in
the other packages.
"""
