"""structlog without rich, which it would load for tracebacks that this program never shows.

In each process that saves 5 MiB and some 50 milliseconds. Whoever wants rich can import it later.
"""

import sys

_loaded = sys.modules.get("rich")
if _loaded is None:
    sys.modules["rich"] = None  # type: ignore[assignment]
try:
    import structlog as structlog
    from structlog.typing import EventDict as EventDict
    from structlog.typing import FilteringBoundLogger as FilteringBoundLogger
    from structlog.typing import WrappedLogger as WrappedLogger
finally:
    if _loaded is None:
        del sys.modules["rich"]
