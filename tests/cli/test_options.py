"""Options that several commands share: every setting is a flag."""

from pathlib import Path

import click
import pytest

from worker.cli.options import COMMON, RUN, with_settings
from worker.config import OPTIONS

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
    "fail_fast": (None, True),
    "gateway.processes": ("3", 3),
    "gateway.host": ("::1", "::1"),
    "gateway.port": ("9000", 9000),
    "gateway.auth": ("none", "none"),
    "gateway.tls": ("self-signed", "self-signed"),
    "gateway.certificate": ("/c", Path("/c")),
    "gateway.key": ("/k", Path("/k")),
    "gateway.drain": ("5", 5.0),
    "gateway.stall_timeout": ("90", 90.0),
    "log.format": ("json", "json"),
    "log.level": ("error", "error"),
}


@pytest.fixture
def merged(place):  # noqa: ARG001 - it sets the environment
    """A function that passes flags to a command and returns the configuration it gets."""

    @click.command()
    @with_settings(*RUN)
    def probe(settings):
        return settings

    return lambda *flags: probe.main(list(flags), standalone_mode=False)


def test_every_setting_is_a_flag_of_run():
    """A setting of the file can be set on the command line."""
    assert set(OPTIONS) == {*RUN, *COMMON} == set(SAMPLES)


@pytest.mark.parametrize("name", OPTIONS)
def test_a_flag_sets_its_setting(merged, name):
    """The value of a flag arrives in the setting with the same name."""
    text, expected = SAMPLES[name]
    flag = OPTIONS[name].flag.partition("/")[0]

    found = merged(flag, *([] if text is None else [text]))
    for part in name.split("."):
        found = getattr(found, part)

    assert expected == found


@pytest.mark.parametrize("name", [name for name in OPTIONS if OPTIONS[name].type is bool])
def test_a_boolean_setting_has_a_negative_flag(merged, monkeypatch, name):
    """A flag overrides the variable, whichever of the two values that has."""
    option = OPTIONS[name]
    yes, _, no = option.flag.partition("/")

    monkeypatch.setenv(option.variable, "true")
    assert getattr(merged(no), name) is False
    monkeypatch.setenv(option.variable, "false")
    assert getattr(merged(yes), name) is True


def test_a_repeated_flag_makes_a_list(merged):
    """Lists are given with one flag per element."""
    assert ("A", "B") == merged("--pass-env", "A", "--pass-env", "B").pass_environment


def test_a_misspelled_variable_is_a_warning(worker, monkeypatch):
    """It is no error, since the variable can belong to another program."""
    monkeypatch.setenv("WORKER_STROE", "x")

    done = worker("repos")

    assert "WORKER_STORE" in done.err
    assert 0 == done.status
