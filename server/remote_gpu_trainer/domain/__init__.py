"""Frozen values: what an offer, an instance, an artifact, a plan *is*. No I/O, no clock."""
