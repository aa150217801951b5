"""The local target: each color a few processes on this machine, one reverse proxy as the stable
endpoint, one state file.
"""
