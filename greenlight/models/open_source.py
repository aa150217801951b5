"""From the name of a model to its source, whatever kind it is."""

import os
import re
from pathlib import Path

from greenlight.core.errors import InputError
from greenlight.models.bucket import BucketSource
from greenlight.models.builtin import TINY
from greenlight.models.folder import FolderSource
from greenlight.models.hub import HubSource
from greenlight.models.source import Description, Source

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
BUCKET = re.compile(r"gs://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](/[^\s*?\[\]]*)?")
SCHEME = re.compile(r"[A-Za-z][\w+.-]*:")


def parse_source(model: str, revision: str = "") -> Source:
    """Tell what kind of source a name is, without looking whether it holds a model.

    Args:
        model: `org/name` on the hub, `gs://bucket/prefix`, a local folder, or `builtin:tiny`. A
            folder that exists wins over a hub id.
        revision: branch, tag or commit of a hub model. Empty: the default branch. Other sources
            have none.

    Raises:
        InputError: it is none of these.
    """
    if model and not SCHEME.match(model):
        local = Path(model).expanduser()
        if model[0] in "./~" or os.path.exists(local):
            return _refuse_revision(FolderSource(model, local), revision)
    if model.startswith("gs:"):
        if not BUCKET.fullmatch(model):
            raise InputError(
                "model",
                model,
                "write gs://bucket/prefix, the prefix being the model's folder or one that holds"
                " its checkpoints",
            )
        return _refuse_revision(BucketSource(model), revision)
    if model.startswith("builtin:"):
        if model != "builtin:tiny":
            raise InputError("model", model, "the only built-in model is builtin:tiny")
        return _refuse_revision(FolderSource(model, TINY), revision)
    if not HUB_ID.fullmatch(model) or ".." in model or "--" in model:
        raise InputError(
            "model",
            model,
            "give a hub id as org/name, gs://bucket/prefix, an existing folder, or builtin:tiny",
        )
    return HubSource(model, revision)


def check_source(model: str, revision: str = "") -> Description:
    """Refuse a source that cannot work: at once for local ones, after one listing for remote ones.

    Raises:
        InputError: names the field (`model` or `revision`), the value and the fix.
        GreenlightError: a remote source cannot be reached.
    """
    return parse_source(model, revision).check()


def _refuse_revision(source: Source, revision: str) -> Source:
    if revision:
        raise InputError(
            "revision",
            revision,
            f"leave it empty: only hub models have revisions, and {source.name} is none",
        )
    return source
