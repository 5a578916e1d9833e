"""Measuring Parquetry beside its peers: the same rows, the same cores, each in a process of its own.

Here engines and algorithms are named side by side, because comparing them is the purpose.
"""
