"""What holds for every test."""

import pytest
from hypothesis import settings

# A busy machine is no failure: a deadline per example is a clock on the wall. A failure prints how to play it again.
settings.register_profile("suite", deadline=None, print_blob=True)
settings.load_profile("suite")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep a module on one worker: its stage is set once, and what a test finds does not hang on how many there are."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.location[0]))
