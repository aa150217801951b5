"""Which code makes and serves a release. Part of every cache key and of the fingerprint of what is
live.
"""

import hashlib
from functools import cache
from pathlib import Path

ROOMS = ("core", "models", "quantize", "evaluate", "gate", "serving")


@cache
def code_version() -> str:
    """Digest of the source of the rooms that make, judge and serve a release: 12 hex digits, the
    same for the same files anywhere.
    """
    root = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for path in sorted(path for room in ROOMS for path in (root / room).rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]
