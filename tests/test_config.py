"""The configuration: flags over environment over file, and every problem with its source."""

import re
import tomllib
from pathlib import Path

import pytest

from worker.config import OPTIONS, Config, InvalidConfig
from worker.config_sources import load_config, misspelled_variables, settings_file
from worker.store.opening import InvalidStore, open_store

CONFIGURATION = Path(__file__).parents[1] / "config" / "worker.toml"
REFERENCE = Path(__file__).parents[1] / "docs" / "configuration.md"


@pytest.fixture
def file(tmp_path):
    """A function that writes a configuration file and returns its path."""

    def write(text):
        path = tmp_path / "worker.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def problems_of(flags=None, environ=None, file=None):
    with pytest.raises(InvalidConfig) as raised:
        load_config(flags or {}, environ or {}, file=file)
    return raised.value.problems


def test_a_flag_overrides_a_variable_and_a_variable_the_file(file):
    """The precedence applies to each setting separately."""
    path = file('grace = "1s"\nruntime = "docker"\n[gateway]\nport = 1\ndrain = 5\n')

    found = load_config(
        {"grace": "3s"},
        {"WORKER_GRACE": "2s", "WORKER_GATEWAY_PORT": "2"},
        file=path,
    )

    assert (3.0, 2, 5.0) == (found.grace, found.gateway.port, found.gateway.drain)
    assert "docker" == found.runtime


@pytest.mark.parametrize(
    ("text", "place"),
    [
        pytest.param("grce = 3", "grce: no such setting; did you mean grace?", id="at the top"),
        pytest.param(
            "[gateway]\nprocess = 3",
            "gateway.process: no such setting; did you mean gateway.processes?",
            id="in a section",
        ),
        pytest.param("[web]\nport = 3", "web: no such setting", id="a section"),
        pytest.param("gateway = 3", "gateway: no such setting", id="a section as a value"),
    ],
)
def test_an_unknown_key_is_reported_with_file_and_suggestion(file, text, place):
    """A misspelled setting is an error."""
    path = file(text)

    problem = problems_of(file=path)[0]

    assert problem.startswith(f"{path}: {place}")


@pytest.mark.parametrize(
    ("name", "raw", "expected"),
    [
        ("grace", "soon", 'expected a duration such as 10, "10s" or "1m30s", found \'soon\''),
        ("grace", -1, "expected 0 to 86400, found -1"),
        ("grace", True, 'expected a duration such as 10, "10s" or "1m30s", found True'),
        ("gateway.port", "70000", "expected 0 to 65535, found '70000'"),
        ("gateway.port", "x", "expected an integer, found 'x'"),
        ("gateway.processes", 0, "expected 1 to 64, found 0"),
        ("client_hints", "perhaps", "expected true or false, found 'perhaps'"),
        ("runtime", "lxc", "expected one of process, docker, podman, found 'lxc'"),
        ("store", "", "expected a path, found ''"),
        ("gateway.host", "", "expected a text that is not empty, found ''"),
        ("pass_environment", 3, "expected a list of texts, or one text with commas, found 3"),
        ("store_options", "secret", "expected a table of texts, or one text of name=value"),
    ],
)
def test_an_invalid_value_is_reported_with_source_and_expectation(name, raw, expected):
    """The message has the source, what was expected, and what was found."""
    where = OPTIONS[name].flag.partition("/")[0]

    assert f"{where}: {expected}" in problems_of({name: raw})[0]


def test_an_invalid_store_option_is_not_repeated():
    """Store options can hold credentials, so their text is not in the message."""
    assert "hunter2" not in problems_of(environ={"WORKER_STORE_OPTIONS": "hunter2"})[0]


def test_all_problems_are_reported_at_once(file):
    """An error in each of the three sources makes three problems."""
    path = file("[log]\nlevel = 'loud'")

    found = problems_of({"gateway.port": "x"}, {"WORKER_GRACE": "x"}, path)

    assert [f"{path}: log.level", "WORKER_GRACE", "--port"] == [
        re.sub(r": expected.*", "", problem) for problem in found
    ]


@pytest.mark.parametrize(
    ("raw", "seconds"),
    [("10", 10.0), ("10s", 10.0), ("1m30s", 90.0), ("1.5h", 5400.0), ("250ms", 0.25), (3, 3.0)],
)
def test_durations_are_numbers_of_seconds_or_amounts_with_units(raw, seconds):
    """A number has the unit seconds."""
    assert seconds == load_config({"grace": raw}, {}).grace


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param({"endpoint": "http://s3:9000", "allow_http": True}, id="a table"),
        pytest.param("endpoint=http://s3:9000,allow_http=true", id="a text"),
        pytest.param(("endpoint=http://s3:9000", "allow_http=true"), id="flags"),
    ],
)
def test_store_options_have_three_forms(raw):
    """They are a table in a file, one text in a variable, and repeated flags."""
    found = load_config({"store_options": raw}, {}).store_options

    assert {"endpoint": "http://s3:9000", "allow_http": "true"} == found


def test_paths_in_a_file_are_relative_to_the_file(file, tmp_path):
    """A configuration file has the same meaning in every working directory."""
    found = load_config({}, {}, file=file('store = "data"\nsecrets = "keys"'), folder=Path("/"))

    assert (str(tmp_path / "data"), tmp_path / "keys") == (found.store, found.secrets)


def test_paths_elsewhere_are_relative_to_the_working_directory(tmp_path):
    """Flags and variables have paths as other commands have them."""
    found = load_config({"store": "data"}, {}, folder=tmp_path)

    assert str(tmp_path / "data") == found.store


def test_a_store_url_is_not_a_path(file):
    """The URL of an object store is not resolved."""
    found = load_config({}, {}, file=file('store = "s3://bucket/prefix"'))

    assert "s3://bucket/prefix" == found.store


@pytest.mark.parametrize(
    ("text", "says"),
    [("grace = ", "not TOML"), (None, "cannot be read: No such file or directory")],
    ids=["broken", "missing"],
)
def test_an_unreadable_file_is_an_error(file, tmp_path, text, says):
    """The defaults never replace a file that was named."""
    path = file(text) if text else tmp_path / "nothing.toml"

    assert f"{path}: {says}" in problems_of(file=path)[0]


def test_only_the_first_existing_file_is_read(tmp_path, monkeypatch):
    """The order is WORKER_CONFIG, the working directory, the user's configuration."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    assert settings_file({}, tmp_path) is None

    own = tmp_path / "config" / "worker" / "worker.toml"
    own.parent.mkdir(parents=True)
    own.touch()
    assert own == settings_file({}, tmp_path)

    (tmp_path / "worker.toml").touch()
    assert tmp_path / "worker.toml" == settings_file({}, tmp_path)

    assert Path("/named.toml") == settings_file({"WORKER_CONFIG": "/named.toml"}, tmp_path)


def test_a_kubernetes_service_link_is_no_setting():
    """A service called worker-gateway does not set the port of the gateway."""
    assert 0 == load_config({}, {"WORKER_GATEWAY_PORT": "tcp://10.0.0.1:80"}).gateway.port


@pytest.mark.parametrize(
    "name",
    ["WORKER_CONFIG", "WORKER_REPORT", "WORKER_SECRETS_ROOT", "WORKER_SECRET_S_K"],
)
def test_a_variable_of_the_worker_that_is_no_setting_is_not_misspelled(name):
    """A nested worker inherits those of its job."""
    assert {} == misspelled_variables({name: "x"})


def test_a_misspelled_variable_is_found():
    """A variable that resembles no setting is ignored."""
    assert {"WORKER_STROE": "WORKER_STORE"} == misspelled_variables(
        {"WORKER_STROE": "x", "WORKER_COUNT": "3", "WORKER_STORE": "y", "PATH": "/bin"}
    )


@pytest.mark.parametrize(
    ("host", "auth", "expected"),
    [
        ("127.0.0.1", "auto", False),
        ("::1", "auto", False),
        ("127.0.0.2", "auto", False),
        ("127.255.255.254", "auto", False),
        ("0:0:0:0:0:0:0:1", "auto", False),
        ("::ffff:127.0.0.1", "auto", False),
        ("localhost", "auto", False),
        ("LOCALHOST", "auto", False),
        ("128.0.0.1", "auto", True),
        ("::", "auto", True),
        ("127.example.com", "auto", True),
        ("0.0.0.0", "auto", True),
        ("0.0.0.0", "none", False),
        ("127.0.0.1", "sigv4", True),
    ],
)
def test_authentication_is_required_beyond_loopback(host, auth, expected):
    """The setting can disable it, or enable it on loopback."""
    found = load_config({"gateway.host": host, "gateway.auth": auth}, {})

    assert expected == found.gateway.authenticated


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"gateway.key": "k.pem"}, "gateway.certificate"),
        ({"gateway.certificate": "c.pem"}, "gateway.key"),
        ({}, "gateway.certificate, gateway.key"),
    ],
)
def test_tls_with_a_certificate_requires_certificate_and_key(given, missing):
    """The message names what is missing."""
    assert problems_of({"gateway.tls": "certificate", **given}) == (
        '--tls: "certificate" requires gateway.certificate and gateway.key; missing: ' + missing,
    )


def test_a_contradiction_is_reported_with_its_source_and_all_other_problems(file):
    """The three sources each have a problem, one of them a contradiction between settings."""
    path = file('[gateway]\ntls = "certificate"')

    found = problems_of({"gateway.port": "x"}, {"WORKER_GRACE": "x"}, path)

    assert ["WORKER_GRACE", "--port", f"{path}: gateway.tls"] == [
        re.sub(r": (expected|\"certificate).*", "", problem) for problem in found
    ]


def test_a_setting_with_an_invalid_value_is_not_reported_as_missing():
    """Its own error is enough."""
    found = problems_of(
        {"gateway.tls": "certificate", "gateway.certificate": "", "gateway.key": "k"}
    )

    assert ["--certificate: expected a path, found ''"] == list(found)


def test_the_shipped_file_is_all_comments():
    """A copy of config/worker.toml changes no setting."""
    assert load_config({}, {}, file=CONFIGURATION) == load_config({}, {"WORKER_CONFIG": ""})


def uncommented():
    lines = CONFIGURATION.read_text("utf-8").splitlines()
    return "\n".join(re.sub(r"^# ([a-z_]+ = )", r"\1", line) for line in lines)


def test_the_shipped_file_has_every_setting():
    """Without its comment signs it is valid and sets every setting."""
    document = tomllib.loads(uncommented())
    sections = {"gateway", "log"}
    found = {
        f"{key}.{inner}" if key in sections else key
        for key, value in document.items()
        for inner in (value if key in sections else [key])
    }

    assert set(OPTIONS) == found


def test_the_shipped_file_has_the_default_values(file):
    """Values that depend on the machine are excepted."""
    shown = load_config({}, {}, file=file(uncommented()))

    plain = Config()
    fixed = ["grace", "runtime", "engine_options", "client_hints", "pass_environment"]
    assert [getattr(plain, name) for name in fixed] == [getattr(shown, name) for name in fixed]
    assert plain.log == shown.log
    fixed = ["port", "drain", "stall_timeout", "auth", "tls"]
    assert [getattr(plain.gateway, name) for name in fixed] == [
        getattr(shown.gateway, name) for name in fixed
    ]


def test_the_documentation_has_a_row_for_every_setting():
    """A row of docs/configuration.md has name, variable, flag, default and description."""
    text = REFERENCE.read_text("utf-8")
    rows = {
        name: (variable, flag, description)
        for name, variable, flag, description in re.findall(
            r"^\| `([a-z_.]+)` \| `(\w+)` \| `([a-z-]+)` \| .+? \| (.+) \|$", text, re.M
        )
    }

    assert {
        option.name: (option.variable, option.flag.partition("/")[0], option.help)
        for option in OPTIONS.values()
    } == rows


def test_store_options_are_not_in_the_repr():
    """The configuration can be logged without credentials."""
    found = load_config({"store_options": "secret_access_key=hunter2"}, {})

    assert "hunter2" not in repr(found)


@pytest.fixture
def no_home(monkeypatch):
    """A user without a home: neither a variable nor an entry in the passwd."""

    def unknown(_uid):
        raise KeyError("uid not found")

    for name in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", unknown)


@pytest.mark.usefixtures("no_home")
def test_without_a_home_only_the_default_store_is_missing(tmp_path):
    """Its absence is an error where it is used, with the remedy."""
    config = load_config({}, {}, folder=tmp_path)

    with pytest.raises(InvalidStore, match=r"WORKER_STORE or --store: .*HOME is not set"):
        open_store(config.store)
    assert "x" == Path(load_config({}, {"WORKER_STORE": "x"}, folder=tmp_path).store).name


@pytest.mark.usefixtures("no_home")
@pytest.mark.parametrize("name", ["WORKER_STORE", "WORKER_SCRATCH", "WORKER_CONFIG"])
def test_a_path_in_a_home_that_is_unknown_is_invalid(tmp_path, name):
    with pytest.raises(InvalidConfig, match=f"{name}.*the home directory is unknown: set HOME"):
        load_config({}, {name: "~/x"}, folder=tmp_path)


def test_a_configuration_of_another_user_is_not_read(tmp_path, monkeypatch):
    """As for a process that has changed its user and kept HOME."""

    def is_file(path, real=Path.is_file):
        if "worker/worker.toml" in str(path):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(Path, "is_file", is_file)

    assert settings_file({}, tmp_path) is None


def test_a_machine_without_a_temporary_folder_has_a_default(monkeypatch, tmp_path):
    """The folder is reported by whoever needs it."""

    def none():
        raise FileNotFoundError("no usable temporary directory")

    monkeypatch.setattr("tempfile.gettempdir", none)

    assert Path("/tmp") == load_config({}, {}, folder=tmp_path).scratch


@pytest.mark.parametrize(
    ("found", "right"),
    [
        ("s3:/lake/p", "s3://lake/p"),
        ("S3:lake", "s3://lake"),
        ("S3://lake/p", "s3://lake/p"),
        ("s3//lake", "s3://lake"),
        ("gs:/b", "gs://b"),
        ("file:/x", "file:///x"),
        ("File:///x", "file:///x"),
    ],
)
def test_a_mistyped_store_is_rejected_with_the_right_spelling(found, right):
    with pytest.raises(InvalidConfig, match=f"store: expected {right}, or ./{found}"):
        load_config({"store": found}, {})
