"""What backs every claim about performance and statistics. Each package is one `make` target and
ends with one line `BENCH {…}` of JSON.
"""
