"""Each case ends as it says, wherever the model lies: taken with the same tensors, or refused
before a weight is fetched.
"""

import logging
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from greenlight.core.errors import InputError
from greenlight.models.builtin import TINY
from greenlight.models.checkpoint import open_checkpoint
from greenlight.models.description import FIRST_READ
from greenlight.models.download import download_model
from greenlight.models.integrity import verify_model
from greenlight.models.open_source import check_source, parse_source
from tests.gcs import bucket, gcs_server  # noqa: F401  fixtures
from tests.models.cases.cases_weights import CASES, FOLDERS_ONLY, Case, read_tensors
from tests.models.hub_server import HubServer

TAKEN = sorted(name for name, case in CASES.items() if not case.says)
REFUSED = sorted(name for name, case in CASES.items() if case.says)
ALL = {**CASES, **FOLDERS_ONLY}


def make(case: Case, folder: Path) -> Path:
    shutil.copytree(TINY, folder)
    case.make(folder)
    return folder


@pytest.fixture(params=["folder", "hub", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts a case into a place and gives its name there, and what tells whether weights came."""
    hubs = []

    def put(case: Case) -> str:
        folder = make(case, tmp_path / "case")
        files = {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }
        if request.param == "hub":
            hubs.append(HubServer(files).__enter__())
            monkeypatch.setenv("HF_ENDPOINT", hubs[0].url)
            return "org/name"
        if request.param == "bucket":
            store = request.getfixturevalue("bucket")
            for name, data in files.items():
                store.blob(f"case/{name}").upload_from_string(data)
            return f"gs://{store.name}/case"
        return str(folder)

    put.hubs = hubs  # type: ignore[attr-defined]
    yield put
    for hub in hubs:
        hub.__exit__()


@pytest.mark.parametrize("name", TAKEN)
def test_taken(name: str, place, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "greenlight.download")
    model = place(CASES[name])
    check_source(model)
    assert CASES[name].note in caplog.text
    source = parse_source(model)
    output = tmp_path / "output"
    download_model(source, source.resolve(), output).save(output)
    verify_model(output)
    opened = open_checkpoint("model", output)
    weights = sorted(opened.folder.glob("*.safetensors"))
    found = {key: value for path in weights for key, value in read_tensors(path).items()}
    wanted = read_tensors(TINY / "model.safetensors")
    if name == "tied_head":
        del wanted["lm_head.weight"]
    assert found == wanted
    assert (opened.folder / "model.safetensors").is_file() == (len(weights) == 1)


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, place) -> None:
    model = place(CASES[name])
    with pytest.raises(InputError, match=CASES[name].says) as caught:
        check_source(model)
    assert (caught.value.field, caught.value.value) == ("model", model)
    assert "\n" not in str(caught.value)
    for hub in place.hubs:
        for file, wanted in hub.looked_at:
            if file.endswith(".safetensors"):
                first, last = map(int, wanted.removeprefix("bytes=").split("-"))
                assert last - first < FIRST_READ
        assert not [asked for asked in hub.fetched if asked.path.endswith(".safetensors")]


@pytest.mark.parametrize("name", FOLDERS_ONLY)
def test_a_folder_that_holds_models_names_the_one_to_give(name: str, tmp_path: Path) -> None:
    folder = make(FOLDERS_ONLY[name], tmp_path / "case")
    with pytest.raises(InputError, match=FOLDERS_ONLY[name].says):
        check_source(str(folder))


def test_a_file_is_not_a_folder(tmp_path: Path) -> None:
    for name, said in (("m.gguf", "--from-gguf"), ("model.safetensors", "give the folder")):
        (tmp_path / name).write_bytes(b"GGUF")
        with pytest.raises(InputError, match=said):
            check_source(str(tmp_path / name))


@pytest.mark.parametrize("seed", ["1", "2", "3"])
def test_what_is_taken_does_not_depend_on_the_hash_seed(tmp_path: Path, seed: str) -> None:
    folder = make(CASES["leftovers_of_another_split"], tmp_path / "case")
    program = (
        "import sys; from greenlight.models.open_source import parse_source\n"
        "source = parse_source(sys.argv[1])\n"
        "print(*sorted(file.path for file in source.list_files(source.resolve())))"
    )
    names = subprocess.run(
        [sys.executable, "-c", program, str(folder)],
        env={"PYTHONHASHSEED": seed, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert [name for name in names if name.endswith(".safetensors")] == [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ]


@pytest.mark.parametrize("name", ["one_file_of_another_name", "index_of_another_name"])
def test_a_folder_used_where_it_lies_must_have_the_names_of_transformers(
    name: str, tmp_path: Path
) -> None:
    folder = make(CASES[name], tmp_path / "case")
    with pytest.raises(InputError, match="rename it, or use `greenlight download`"):
        open_checkpoint("baseline", folder)


@pytest.mark.parametrize("name", ["missing_lm_head", "custom_code", "gguf_only", "adapter_only"])
def test_the_command_ends_with_2_and_one_line(name: str, tmp_path: Path) -> None:
    folder = make(CASES[name], tmp_path / "case")
    command = [
        str(Path(sys.executable).parent / "greenlight"),
        "download",
        "--model-id",
        str(folder),
    ]
    ended = subprocess.run(
        [*command, "--output-path", str(tmp_path / "output")],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "output").exists()
