import hashlib

import pytest

from greenlight.core.errors import IntegrityError
from greenlight.core.records import Model
from greenlight.models.builtin import TINY
from greenlight.models.integrity import content_digest, describe_files, verify_model


@pytest.fixture
def artifact(tmp_path):
    model = tmp_path / "model"
    (model / "chat").mkdir(parents=True)
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(bytes(1000))
    (model / "chat" / "a.jinja").write_text("a")
    files = describe_files(model)
    Model(
        role="baseline",
        source="x",
        commit="c",
        format="safetensors",
        digest=content_digest(files),
        files=files,
        bytes=sum(entry.size for entry in files.values()),
    ).save(tmp_path)
    return tmp_path


def test_paths_are_relative_and_sorted(artifact):
    assert list(describe_files(artifact / "model")) == [
        "chat/a.jinja",
        "config.json",
        "model.safetensors",
    ]


def test_the_digest_is_that_of_sha256sum_lines(artifact):
    files = describe_files(artifact / "model")
    lines = sorted(
        f"{hashlib.sha256((artifact / 'model' / name).read_bytes()).hexdigest()}  {name}"
        for name in files
    )
    assert content_digest(files) == hashlib.sha256(("\n".join(lines) + "\n").encode()).hexdigest()
    assert content_digest(dict(reversed(files.items()))) == content_digest(files)


def test_an_untouched_artifact_is_verified(artifact):
    assert verify_model(artifact) == Model.load(artifact)


def test_the_built_in_checkpoint_can_be_described():
    assert {"config.json", "model.safetensors", "tokenizer.json", "chat_template.jinja"} <= set(
        describe_files(TINY)
    )


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda model: (model / "config.json").unlink(), "config.json is missing"),
        (
            lambda model: (model / "config.json").write_text("[]"),
            "the bytes of config.json have changed",
        ),
        (
            lambda model: (model / "model.safetensors").write_bytes(bytes(999)),
            "model.safetensors has 999 bytes instead of 1000",
        ),
        (
            lambda model: (model / "more.safetensors").write_bytes(b""),
            "more.safetensors is not in the record",
        ),
        (lambda model: (model.parent / "record.json").unlink(), "no record.json"),
        (lambda model: (model.parent / "record.json").write_text("{"), "not a Model record"),
    ],
)
def test_damage_is_found_and_named(artifact, damage, said):
    damage(artifact / "model")
    with pytest.raises(IntegrityError, match=said):
        verify_model(artifact)


def test_a_record_whose_digest_does_not_fit_its_files_is_refused(artifact):
    Model.load(artifact).model_copy(update={"digest": "0" * 64}).save(artifact)
    with pytest.raises(IntegrityError, match="digest does not fit"):
        verify_model(artifact)
