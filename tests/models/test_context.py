from typing import Any

import pytest

from greenlight.models.context import UNSAID, UNSAID_CONTEXT, context_length, text_config

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}


@pytest.mark.parametrize(
    ("config", "length"),
    [
        ({"max_position_embeddings": 2048}, 2048),
        ({"n_positions": 128}, 128),  # GPT-2 (32)
        ({"n_positions": 1024, "n_ctx": 512}, 512),
        ({"max_seq_len": 4096}, 4096),  # MPT, DBRX
        ({"seq_length": 8192}, 8192),  # ChatGLM
        ({"max_sequence_length": 2048}, 2048),
        ({"max_position_embeddings": 8192, "model_max_length": 131072}, 131072),  # Command R
        ({"max_position_embeddings": 512, "model_max_length": 1e30}, 512),
        ({"max_position_embeddings": 1024.0}, 1024),
        ({"text_config": {"max_position_embeddings": 64}, "max_position_embeddings": 9}, 64),
        ({"llm_config": {"max_position_embeddings": 64}}, 64),
        ({"max_position_embeddings": 32768, "rope_scaling": YARN}, 32768),
        ({"max_position_embeddings": 131072, "rope_scaling": YARN}, 131072),
        (
            {"max_position_embeddings": 131072, "rope_parameters": {"full": YARN, "part": {}}},
            131072,
        ),
        ({"max_position_embeddings": 40960, "rope_scaling": YARN | {"factor": None}}, 40960),
        (
            {"max_position_embeddings": 16384, "rope_scaling": {"type": "linear", "factor": 4}},
            16384,
        ),
        ({"max_position_embeddings": 131072, "rope_scaling": {"rope_type": "llama3"}}, 131072),
        ({"max_position_embeddings": 512, "rope_scaling": None}, 512),
        ({"max_position_embeddings": 4096, "sliding_window": 512}, 4096),
        ({"model_type": "mamba"}, UNSAID_CONTEXT),
        ({"model_type": "bloom"}, UNSAID_CONTEXT),  # 21
        ({"model_type": "bloom", "seq_length": 512}, 512),
        ({"model_type": "gpt2"}, None),
        ({"max_position_embeddings": True}, None),
        ({"max_position_embeddings": -1}, None),
        ({"max_position_embeddings": "512"}, None),
        ({}, None),
    ],
)
def test_context_length(config: dict[str, Any], length: int | None) -> None:
    assert context_length(config) == length


@pytest.mark.parametrize("model_type", UNSAID)
def test_families_that_do_not_say_have_no_table_of_positions(model_type: str) -> None:
    """What transformers takes where a config names nothing is not shorter."""
    from transformers import AutoConfig

    default = context_length(AutoConfig.for_model(model_type).to_dict() | {"model_type": ""})
    assert default is None or default >= UNSAID_CONTEXT


def test_the_part_of_a_config() -> None:
    assert text_config({"a": 1}) == {"a": 1}
    assert text_config({"text_config": {"a": 2}}) == {"a": 2}
    assert text_config({"text_config": None, "a": 1}) == {"a": 1, "text_config": None}
