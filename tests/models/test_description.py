"""What is read of a model is the same wherever it lies, and no more than is needed."""

import json
from pathlib import Path

import pytest

from greenlight.core.errors import InputError
from greenlight.models.description import FIRST_READ, describe_folder, describe_source
from greenlight.models.open_source import parse_source
from greenlight.models.safetensors_header import Tensor
from greenlight.models.source import Description
from greenlight.models.weight_checks import check_weights
from tests.gcs import bucket, gcs_server  # noqa: F401  fixtures
from tests.models.conftest import TAKEN, safetensors
from tests.models.hub_server import HubServer

SHARD = "model-00002-of-00003.safetensors"


def describe(model: str) -> Description:
    source = parse_source(model)
    return describe_source(source, source.resolve())


def test_a_folder_the_hub_and_a_bucket_are_described_alike(
    folder: Path, hub: HubServer, bucket
) -> None:
    for name, data in hub.files.items():
        bucket.blob(f"m/{name}").upload_from_string(data)
    here = describe(str(folder))
    assert here.tensors["layer.2"] == Tensor("BF16", (100_000,), 200_000, SHARD)
    assert here.config["model_type"] == "llama"
    assert set(here.chosen) == TAKEN
    assert here.files[SHARD] == len(hub.files[SHARD])
    assert set(here.texts) == {"tokenizer.json", "chat_template.jinja"}
    for there in (describe("org/name"), describe(f"gs://{bucket.name}/m"), describe_folder(folder)):
        assert (there.tensors, there.config, there.chosen, there.texts) == (
            here.tensors,
            here.config,
            here.chosen,
            here.texts,
        )
        assert {name: there.files[name] for name in TAKEN} == {
            name: here.files[name] for name in TAKEN
        }


def test_one_request_for_each_file_of_weights(hub: HubServer) -> None:
    describe("org/name")
    assert [wanted for name, wanted in hub.looked_at if name == SHARD] == [
        f"bytes=0-{FIRST_READ - 1}"
    ]
    assert not [asked for asked in hub.fetched if asked.path.endswith(".safetensors")]


@pytest.mark.parametrize("ignored", [False, True])
def test_a_long_header_is_read_on(hub: HubServer, ignored: bool) -> None:
    """Also from a server that sends the whole file, whatever is asked for."""
    names = [f"model.layers.{number}.{'x' * 100}" for number in range(2000)]
    hub.files[SHARD] = safetensors(dict.fromkeys(names, 2))
    index = json.loads(hub.files["model.safetensors.index.json"])
    index["weight_map"] |= dict.fromkeys(names, SHARD)
    del index["weight_map"]["layer.2"]
    hub.files["model.safetensors.index.json"] = json.dumps(index).encode()
    hub.ignore_ranges = ignored
    assert set(names) < describe("org/name").tensors.keys()
    assert len([name for name, _ in hub.looked_at if name == SHARD]) == 2


# Which weights must be there depends on the family

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"


def check(config: dict, shapes: dict[str, tuple[int, ...]]) -> None:
    check_weights(
        "m", config, {name: Tensor("BF16", shape, 2, "f") for name, shape in shapes.items()}
    )


def test_a_config_that_does_not_say_it_is_read_as_its_class_reads_it() -> None:
    check({"model_type": "gemma2", "vocab_size": 9}, {EMBEDDING: (9, 4)})
    check({"model_type": "gpt2", "vocab_size": 9}, {"wte.weight": (9, 4)})
    with pytest.raises(InputError, match="lack the output head"):
        check({"model_type": "qwen2", "vocab_size": 9}, {EMBEDDING: (9, 4)})
    check({"model_type": "gpt_neox", "vocab_size": 9}, dict.fromkeys(["a.weight", "b"], (9, 4)))


def test_rows_for_tokens_of_its_own_are_no_missing_embedding() -> None:
    config = {"model_type": "llama", "vocab_size": 9, "tie_word_embeddings": False}
    check(config, {EMBEDDING: (17, 4), HEAD: (9, 4)})
    with pytest.raises(InputError, match="lack the embedding"):
        check(config, {HEAD: (9, 4)})


def test_of_several_stacks_only_gaps_count() -> None:
    config = {"model_type": "llama", "num_hidden_layers": 3}
    tower = {"vision.layers.0.w": (2, 2)}
    check(config, {**tower, "model.layers.0.w": (2, 2), "model.layers.1.w": (2, 2)})
    with pytest.raises(InputError, match=r"lack 1 of 2 layers, first model\.layers\.1;"):
        check(config, {**tower, "model.layers.0.w": (2, 2), "model.layers.2.w": (2, 2)})


def test_a_part_that_describes_the_language_model_counts() -> None:
    part = {"vocab_size": 9, "num_hidden_layers": 1}
    with pytest.raises(InputError, match=r"has 8 rows, and .* vocab_size 9"):
        check({"model_type": "gemma3", "text_config": part}, {EMBEDDING: (8, 4)})
