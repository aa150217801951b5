"""`make bench-load`: what the load generator measures, against what a server really did, and
against guidellm; and a million requests summed up.
"""
