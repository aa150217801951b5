"""From the name of a model to its source, whatever kind it is."""

import os
import re
from pathlib import Path

from greenlight.core.errors import InputError
from greenlight.models.adapter import ADAPTER, PREFIX, AdapterSource
from greenlight.models.bucket import BucketSource
from greenlight.models.builtin import TINY
from greenlight.models.folder import FolderSource
from greenlight.models.gguf import SUFFIX, GgufSource, gguf_kind
from greenlight.models.hub import HubSource
from greenlight.models.package import SMOLLM2, PackageSource
from greenlight.models.source import Description, Source

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
HUB_FILE = re.compile(rf"({HUB_ID.pattern})/(.+)")
BUCKET = re.compile(r"gs://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](/[^\s*?\[\]]*)?")
SCHEME = re.compile(r"[A-Za-z][\w+.-]*:")


def parse_source(model: str, revision: str = "", from_gguf: str = "") -> Source:
    """Tell what kind of source a name is, without looking whether it holds a model.

    Args:
        model: `org/name` on the hub, `gs://bucket/prefix`, a local folder, `builtin:tiny` or
            `builtin:smollm2`. A folder that exists wins over a hub id. A GGUF file in any of the
            first three, by its path; an adapter in them, with `adapter:` before it.
        revision: branch, tag or commit of a hub model. Empty: the default branch. Other sources
            have none.
        from_gguf: the GGUF file in the model's folder that is converted. Empty: none, or the model
            is the path of one.

    Raises:
        InputError: it is none of these.
    """
    if model.startswith(PREFIX):
        return AdapterSource(model, _adapter(model, revision), parse_source)
    if from_gguf:
        if not from_gguf.endswith(SUFFIX) or model.startswith("builtin:"):
            raise InputError(
                "from_gguf",
                from_gguf,
                "give the name of a .gguf file in the folder, hub model or bucket that the model"
                " names",
            )
        if not Path(model).expanduser().is_file():
            model = f"{model.rstrip('/')}/{from_gguf}"
    if model.endswith(SUFFIX) and (source := _gguf_file(model, revision)):
        return source
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
        if model == "builtin:smollm2":
            place = PackageSource(model, SMOLLM2)
            return _refuse_revision(GgufSource(model, place, SMOLLM2.gguf), revision)
        if model != "builtin:tiny":
            raise InputError(
                "model", model, "the built-in models are builtin:tiny and builtin:smollm2"
            )
        return _refuse_revision(FolderSource(model, TINY), revision)
    if not HUB_ID.fullmatch(model) or ".." in model or "--" in model:
        raise InputError(
            "model",
            model,
            "give a hub id as org/name, gs://bucket/prefix, an existing folder, builtin:tiny or"
            " builtin:smollm2",
        )
    return HubSource(model, revision)


def _adapter(model: str, revision: str) -> Source:
    """The place of an adapter, by `adapter:` and its name. Raises InputError when it is none."""
    place = parse_source(model.removeprefix(PREFIX), revision)
    if not isinstance(place, FolderSource | HubSource | BucketSource):
        raise InputError("model", model, "after adapter: goes a folder, a hub id or a gs:// prefix")
    place.kind = ADAPTER
    return place


def check_source(model: str, revision: str = "", from_gguf: str = "") -> Description | None:
    """Refuse a source that cannot work: at once for local ones, after one listing for remote ones.

    Raises:
        InputError: names the field (`model` or `revision`), the value and the fix.
        GreenlightError: a remote source cannot be reached.
    """
    return parse_source(model, revision, from_gguf).check()


def _gguf_file(model: str, revision: str) -> Source | None:
    """The source of a GGUF file, by the path of the file. None: it is something else."""
    folder, _, file = model.rpartition("/")
    if model.startswith("gs://"):
        place: Source = BucketSource(folder, gguf_kind(file))
    elif (local := Path(model).expanduser()).is_file() or model[0] in "./~":
        if local.is_dir():
            return None
        place = FolderSource(folder or ".", local.parent, gguf_kind(file))
    elif found := HUB_FILE.fullmatch(model):
        folder, file = found.groups()
        return GgufSource(model, HubSource(folder, revision, gguf_kind(file)), file)
    else:
        return None
    return _refuse_revision(GgufSource(model, place, file), revision)


def _refuse_revision(source: Source, revision: str) -> Source:
    if revision:
        raise InputError(
            "revision",
            revision,
            f"leave it empty: only hub models have revisions, and {source.name} is none",
        )
    return source
