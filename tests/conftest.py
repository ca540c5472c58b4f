"""Options of the test suite."""


def pytest_addoption(parser):
    """Choose how much is tried in ``tests/faults``, and on which server."""
    parser.addoption("--exhaustive", action="store_true", help="inject every fault everywhere")
    parser.addoption("--server", default="moto", help="moto, minio or versitygw")
