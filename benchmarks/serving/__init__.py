"""Our inference server against others on this machine: `make bench-serving`, and how it scales:
`make bench-serving-scale`.
"""
