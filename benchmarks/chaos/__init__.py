"""`make chaos`: what goes wrong in a rollout on a real cluster, each under a constant streaming
load, and what that load saw of it.
"""
