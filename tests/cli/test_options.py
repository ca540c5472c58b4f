"""Flags that several commands share: every setting is one, and means what it does in a file."""

from pathlib import Path

import click
import pytest

from worker.cli.options import COMMON, FLAGS, RUN, with_settings
from worker.config import SETTINGS

SAMPLES = {
    "store": ("s3://b/p", "s3://b/p"),
    "store_options": ("region=eu,x=1", {"region": "eu,x=1"}),
    "scratch": ("/s", Path("/s")),
    "grace": ("1m", 60.0),
    "pfs_root": ("/p", Path("/p")),
    "runtime": ("podman", "podman"),
    "engine_arguments": ("--log-level=warn", ("--log-level=warn",)),
    "engine_options": ("--mount=type=bind,src=/a", ("--mount=type=bind,src=/a",)),
    "client_hints": (None, True),
    "pass_environment": ("HF_*", ("HF_*",)),
    "secrets": ("/x", Path("/x")),
    "keep_failed": (None, True),
    "gateway.processes": ("3", 3),
    "gateway.host": ("::1", "::1"),
    "gateway.port": ("9000", 9000),
    "gateway.auth": ("none", "none"),
    "gateway.tls": ("self-signed", "self-signed"),
    "gateway.certificate": ("/c", Path("/c")),
    "gateway.key": ("/k", Path("/k")),
    "gateway.drain": ("5", 5.0),
    "log.format": ("json", "json"),
    "log.level": ("error", "error"),
}


@pytest.fixture
def merged(place):  # noqa: ARG001
    """A function that gives flags to a command and returns the settings it gets."""

    @click.command()
    @with_settings(*RUN)
    def probe(settings):
        return settings

    return lambda *flags: probe.main(list(flags), standalone_mode=False)


def test_every_setting_is_a_flag_of_run():
    """What a file can set, the command line can set."""
    assert set(SETTINGS) == set(FLAGS) == {*RUN, *COMMON} == set(SAMPLES)


@pytest.mark.parametrize("name", FLAGS)
def test_a_flag_sets_its_setting(merged, name):
    """Each flag arrives at the setting that it is named after."""
    text, expected = SAMPLES[name]
    flag = FLAGS[name][0].partition("/")[0]

    found = merged(flag, *([] if text is None else [text]))
    for part in name.split("."):
        found = getattr(found, part)

    assert expected == found


def test_a_flag_can_turn_something_off(merged):
    """--no-client-hints is the opposite of --client-hints."""
    assert merged("--no-client-hints").client_hints is False


def test_a_flag_that_is_given_twice_adds_up(merged):
    """Lists are written flag by flag."""
    assert ("A", "B") == merged("--pass-env", "A", "--pass-env", "B").pass_environment


def test_a_slip_in_a_variable_is_named_in_the_log(worker, monkeypatch):
    """A variable that sets nothing and looks like one that does is a warning, not an error."""
    monkeypatch.setenv("WORKER_STROE", "x")

    said = worker("repos")

    assert "WORKER_STORE" in said.err
    assert 0 == said.status
