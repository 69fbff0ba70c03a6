"""Proof that what came home is whole and loads: per file, in processes that may do nothing else.

Nothing is imported here: the workers start from this package, and the less they import the sooner they answer.
"""
