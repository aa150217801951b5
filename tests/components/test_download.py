"""The component, run as KFP runs it on one machine."""

from pathlib import Path

from kfp import dsl, local

from greenlight.components.download.component import download
from greenlight.core.records import MODEL_FOLDER, Model
from greenlight.models.integrity import verify_model
from greenlight.models.open_source import parse_source


def test_it_brings_the_model_and_publishes_its_record(tmp_path: Path) -> None:
    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path / "root"))
    commit = parse_source("builtin:tiny").resolve()
    task = download(
        source="builtin:tiny",
        commit=commit,
        build="builds/b",
        history=str(tmp_path / "history"),
    )
    artifact: dsl.Model = task.outputs["baseline"]
    record = verify_model(artifact.path)
    assert record.commit == artifact.metadata["commit"] == commit
    assert (Path(artifact.path) / MODEL_FOLDER / "config.json").is_file()
    assert (
        Model.model_validate_json((tmp_path / "history/builds/b/download.json").read_bytes())
        == record
    )
