"""What is read from the source of transformers is what its tables say when they are imported."""

from greenlight.models.known_types import known_types


def test_the_tables_are_those_of_transformers() -> None:
    from transformers.models.auto import auto_mappings, modeling_auto

    known = known_types()
    assert known is not None
    assert known.causal == dict(modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    assert known.masked == dict(modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES)
    # configuration_auto adds some at import, none of them a causal language model
    assert known.configs.items() <= auto_mappings.CONFIG_MAPPING_NAMES.items()
    assert known.causal.keys() - known.configs.keys() == {"gpt-sw3"}
    assert known.modules.items() <= auto_mappings.SPECIAL_MODEL_TYPE_TO_MODULE_NAME.items()


def test_whether_embedding_and_head_are_one_is_what_the_config_class_says() -> None:
    from transformers import CONFIG_MAPPING

    known = known_types()
    assert known is not None
    for kind in known.causal:
        said = known.config_flag(kind, "tie_word_embeddings")
        if said is not None:
            assert said == getattr(CONFIG_MAPPING[kind], "tie_word_embeddings", None), kind
    unsaid = {
        kind for kind in known.causal if known.config_flag(kind, "tie_word_embeddings") is None
    }
    assert len(unsaid) < 10, unsaid
