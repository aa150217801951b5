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
from tests.models.cases import cases_weights  # noqa: F401  adds its cases
from tests.models.cases.case import CASES, Case, read_tensors
from tests.models.cases.cases_kinds import FOLDERS_ONLY
from tests.models.hub_server import HubServer

TAKEN = sorted(name for name, case in CASES.items() if not case.says)
REFUSED = sorted(name for name, case in CASES.items() if case.says)
ALL = {**CASES, **FOLDERS_ONLY}


def make(case: Case, folder: Path) -> Path:
    shutil.copytree(TINY, folder)
    case.make(folder)
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def check_taken(name: str, model: str, output: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "greenlight.download")
    check_source(model)
    assert CASES[name].note in caplog.text
    source = parse_source(model)
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


def check_refused(name: str, model: str) -> None:
    with pytest.raises(InputError, match=CASES[name].says) as caught:
        check_source(model)
    assert (caught.value.field, caught.value.value) == ("model", model)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", TAKEN)
def test_taken(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = make(CASES[name], tmp_path / "case")
    check_taken(name, str(folder), tmp_path / "output", caplog)


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, tmp_path: Path) -> None:
    check_refused(name, str(make(CASES[name], tmp_path / "case")))


@pytest.mark.parametrize("name", CASES)
def test_on_the_hub(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with HubServer(files_of(make(CASES[name], tmp_path / "case"))) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        if not CASES[name].says:
            check_taken(name, "org/name", tmp_path / "output", caplog)
            return
        check_refused(name, "org/name")
        for file, wanted in hub.looked_at:
            if file.endswith(".safetensors"):
                first, last = map(int, wanted.removeprefix("bytes=").split("-"))
                assert last - first < FIRST_READ
        assert not [asked for asked in hub.fetched if asked.path.endswith(".safetensors")]


@pytest.mark.parametrize("name", CASES)
def test_in_a_bucket(
    name: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    bucket,
) -> None:
    for path, data in files_of(make(CASES[name], tmp_path / "case")).items():
        bucket.blob(f"case/{path}").upload_from_string(data)
    if CASES[name].says:
        check_refused(name, f"gs://{bucket.name}/case")
    else:
        check_taken(name, f"gs://{bucket.name}/case", tmp_path / "output", caplog)


@pytest.mark.parametrize("name", FOLDERS_ONLY)
def test_a_folder_that_holds_models_names_the_one_to_give(name: str, tmp_path: Path) -> None:
    folder = make(FOLDERS_ONLY[name], tmp_path / "case")
    with pytest.raises(InputError, match=FOLDERS_ONLY[name].says):
        check_source(str(folder))


def test_a_file_is_not_a_folder(tmp_path: Path) -> None:
    said_of = {"m.gguf": "its m.gguf has a broken header", "model.safetensors": "give the folder"}
    for name, said in said_of.items():
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
