"""A vast.ai of one's own: the platform's API, market, meter and boxes on loopback.

Nothing here imports the rest of the package, so that a client and this emulator cannot share one misreading of the API.
"""
