"""Fixtures of scenarios: worker processes on a store, and what they leave."""

import subprocess
import sys

import pytest
from scenarios.sites import EXAMPLES, Site


@pytest.fixture
def site(tmp_path):
    """A site with an empty store in a directory."""
    site = Site(tmp_path, str(tmp_path / "store"))
    site.scratch.mkdir()
    return site


@pytest.fixture(scope="session")
def labresults(tmp_path_factory):
    """The folder of the example: some 1,250 files, one of them large."""
    folder = tmp_path_factory.mktemp("labresults")
    subprocess.run([sys.executable, EXAMPLES / "labresults.py", folder], check=True)
    return folder
