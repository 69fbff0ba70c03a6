"""What holds for every test."""

from hypothesis import settings

# A busy computer is no failure; that a test ends at all is what pytest's own timeout is for.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")
