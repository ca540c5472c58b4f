"""A backend with fault injection."""

from collections.abc import Callable, Iterator
from typing import Any

from worker.store.backends.base import Backend, Listed

VERBS = ("get", "exists", "put", "put_new", "folders", "delete", "create", "read", "sync")
WRITES = ("put", "put_new", "delete", "create", "sync")


class FailingBackend:
    """A backend that calls *fault* for each request to *backend*.

    ``fault(verb, name, request)`` carries out the request with ``request()``, and can raise or do
    something else before or after it.
    """

    def __init__(
        self, backend: Backend, fault: Callable[[str, str, Callable[[], Any]], Any]
    ) -> None:
        self._backend = backend
        self._fault = fault
        self.url = backend.url

    def __getattr__(self, verb: str) -> Any:
        request = getattr(self._backend, verb)
        if verb not in VERBS:
            return request

        def faulty(*arguments: Any) -> Any:
            name = arguments[0] if arguments and isinstance(arguments[0], str) else ""
            return self._fault(verb, name, lambda: request(*arguments))

        return faulty

    def list_from(self, prefix: str, after: str = "") -> Iterator[Listed]:
        """Yield the objects that exist at the time of the request, as one page."""
        page = self._fault(
            "list_from", prefix, lambda: list(self._backend.list_from(prefix, after))
        )
        yield from page
