"""Log lines of the server: one JSON object an event, on stderr. Prompts and outputs are never
logged.
"""

import logging
from datetime import UTC, datetime

import orjson

log = logging.getLogger("greenlight.serving")


class JsonFormatter(logging.Formatter):
    """`log.info("event", extra={"fields": {…}})` becomes {"time", "severity", "event", …}, the
    names Cloud Logging knows.
    """

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "severity": record.levelname,
            "logger": record.name,
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


def start_logging(level: str) -> None:
    """Our own lines from `level` on; the web server's only when something is wrong."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    log.setLevel(level.upper())
