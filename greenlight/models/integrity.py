"""What the files of a model are, byte by byte, and whether they still are that."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from greenlight.core.errors import IntegrityError
from greenlight.core.records import MODEL_FOLDER, FileEntry, Model

_NAMED = 5  # how many bad files an error names


def describe_files(folder: Path | str) -> dict[str, FileEntry]:
    """Size and sha256 of every file below `folder`, by its path relative to it, sorted. Links are
    followed.
    """
    folder = Path(folder)
    paths = sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )
    with ThreadPoolExecutor(
        max_workers=min(4, os.cpu_count() or 1)
    ) as pool:  # hashing releases the GIL
        return dict(
            zip(paths, pool.map(lambda path: describe_file(folder / path), paths), strict=True)
        )


def describe_file(path: Path) -> FileEntry:
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileEntry(size=file.tell(), sha256=digest)


def content_digest(files: dict[str, FileEntry]) -> str:
    """sha256 over the sorted lines `sha256  path`, as `sha256sum` prints them. Names the content,
    wherever it lies.
    """
    lines = sorted(f"{entry.sha256}  {path}\n" for path, entry in files.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def verify_model(artifact_folder: Path | str) -> Model:
    """Load the record of a Model artifact and compare the files in its `model/` with it. Reads
    every byte.

    Raises:
        IntegrityError: there is no record, a file is missing, changed or not in the record.
    """
    folder = Path(artifact_folder)
    model = Model.load(folder)
    root = folder / MODEL_FOLDER
    sizes = {
        path.relative_to(root).as_posix(): path.stat().st_size
        for path in root.rglob("*")
        if path.is_file()
    }
    wrong = [f"{name} is missing" for name in model.files.keys() - sizes.keys()]
    wrong += [f"{name} is not in the record" for name in sizes.keys() - model.files.keys()]
    wrong += [
        f"{name} has {sizes[name]} bytes instead of {entry.size}"
        for name, entry in model.files.items()
        if sizes.get(name, entry.size) != entry.size
    ]
    if not wrong:  # sizes are cheap; hash only what could be whole
        found = describe_files(root)
        wrong = [
            f"the bytes of {name} have changed"
            for name, entry in found.items()
            if entry.sha256 != model.files[name].sha256
        ]
        if not wrong and content_digest(found) != model.digest:
            wrong = ["its digest does not fit its list of files"]
    if wrong:
        more = f" and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
        raise IntegrityError(
            f"{folder} is not what its record says: {'; '.join(sorted(wrong)[:_NAMED])}{more}. Run"
            " the step that made it again."
        )
    return model
