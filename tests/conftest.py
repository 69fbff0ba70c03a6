"""What holds for every test."""

from hypothesis import settings

# A busy machine is no failure: a deadline per example is a clock on the wall. A failure prints how to play it again.
settings.register_profile("suite", deadline=None, print_blob=True)
settings.load_profile("suite")
