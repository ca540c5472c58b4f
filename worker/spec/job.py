"""A job document as a whole: from its text to a `JobSpec`, or to all of its mistakes."""

from worker.spec.values import JobSpec


def parse(text: str | bytes, *, source: str = "") -> JobSpec:
    """Return the job that *text* asks for, in JSON or YAML; raise `DocumentErrors` with all mistakes.

    *source* is what the messages call the document: a file's name, mostly.
    """
    raise NotImplementedError
