"""The environment that the command of a planned job will get."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import attrs

from worker.config import SECRETS_ROOT, Config
from worker.errors import WorkerError
from worker.gateway.messages import Endpoint, KeyPair
from worker.job.access import ANONYMOUS, Access, own_address
from worker.job.environment import (
    PASSED,
    PASSED_TO_CONTAINERS,
    EnvironmentTemplate,
    InputVariables,
)
from worker.job.paths import SECRETS
from worker.job.plan import Datum, Plan
from worker.job.reports import VARIABLES
from worker.redaction import HIDDEN, redact
from worker.spec.pipeline import User
from worker.supervisor.users import Identity, resolve_user
from worker.text import SECRET_NAME

ACCESS_KEY = "<access key>"
SCRATCH = Path("<scratch>")
"""The scratch directory of a run."""


@attrs.frozen
class PlannedEnvironment:
    """The variables of the first datum's command."""

    variables: Mapping[str, str] = attrs.field(factory=dict)
    """The values that the worker sets. Those that only a run determines are placeholders in angle
    brackets, and secret ones are hidden."""
    passed: tuple[str, ...] = ()
    """The names of the variables that have the value of the worker's own."""


def planned_environment(
    settings: Config, plan: Plan, root: Path, environment: Mapping[str, str]
) -> PlannedEnvironment:
    """Return the variables of the first datum's command; none if no command runs.

    *root* is the ``PFS_ROOT`` of the command, and *environment* that of the worker. Secrets are not
    read.
    """
    datum = next(plan.datums(), None) if plan.published is None else None
    if datum is None:
        return PlannedEnvironment()
    spec = plan.spec
    in_container = settings.runtime != "process"
    template = EnvironmentTemplate(
        base=environment,
        job=spec.job_id or "<id>",
        pipeline=spec.pipeline,
        project=spec.project,
        access=_access(settings) if spec.serves_s3 else None,
        client_hints=settings.client_hints,
        more=settings.pass_environment,
        allowed=PASSED_TO_CONTAINERS if in_container else PASSED,
        secrets={each.env_var: HIDDEN for each in spec.transform.secrets if each.env_var},
        spec={
            name: HIDDEN if SECRET_NAME.search(name) else value
            for name, value in spec.transform.env.items()
        },
        identity=None if in_container else _identity(spec.transform.user),
        local=_paths(plan, root, in_container=in_container),
    )
    variables = template.render(datum=datum.id, inputs=_input_variables(root, datum))
    # In a URL, a placeholder is quoted.
    for placeholder in (ACCESS_KEY, HIDDEN):
        quoted = quote(placeholder, safe="")
        variables = {name: v.replace(quoted, placeholder) for name, v in variables.items()}
    passed = {name for name, value in variables.items() if environment.get(name) == value}
    return PlannedEnvironment(
        {name: redact(value) for name, value in variables.items() if name not in passed},
        tuple(sorted(passed)),
    )


def _access(settings: Config) -> Access:
    gateway = settings.gateway
    scheme = "http" if gateway.tls == "off" else "https"
    host = own_address(gateway.host)
    address = f"[{host}]" if ":" in host else host
    url = f"{scheme}://{address}:{gateway.port or '<port>'}"
    keys = KeyPair(ACCESS_KEY, HIDDEN) if gateway.authenticated else ANONYMOUS
    trusted = SCRATCH / "tls" / "trusted.pem" if gateway.tls == "self-signed" else None
    return Access(Endpoint(host, gateway.port, url), keys, trusted)


def _identity(user: User | None) -> Identity | None:
    # A user that this machine lacks may exist on the one that runs the job.
    with suppress(WorkerError):
        return None if user is None else resolve_user(user)
    return None


def _paths(plan: Plan, root: Path, *, in_container: bool) -> dict[str, str]:
    """Return the variables with paths of the run."""
    paths = {name: str(SCRATCH / "report") for name in VARIABLES}
    paths["PFS_ROOT"] = str(root)
    if any(secret.mount_path for secret in plan.spec.transform.secrets):
        paths[SECRETS_ROOT] = "/" if in_container else str(SCRATCH / SECRETS)
    return paths


def _input_variables(root: Path, datum: Datum) -> Iterator[InputVariables]:
    for selection in datum.selections:
        spec = selection.input.spec
        path = "" if spec.s3 else selection.match.path.lstrip("/")
        yield InputVariables(spec.name, root / spec.name / path, selection.input.commit.name.id)
