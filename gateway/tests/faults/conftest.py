"""Fixtures of several modules of damages."""
import pytest

from lib.damage import Made


@pytest.fixture(scope="module")
def made(siltstone, tmp_path_factory):
    """A store with every kind of file, killed and closed."""
    return Made(siltstone, tmp_path_factory.mktemp("made"))
