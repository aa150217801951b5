"""The built-in model is a real checkpoint, and its text files are what the other steps need."""

import json
import math

import pytest

from greenlight.models.builtin import CALIBRATION, HELDOUT, PROMPTS, TINY
from greenlight.models.builtin.language_reference import SEED, calibration, prompts, split


def lines(path, key: str) -> list[str]:
    return [json.loads(line)[key] for line in path.read_text().splitlines()]


def test_the_checkpoint_is_small_and_complete() -> None:
    names = {path.name for path in TINY.iterdir()}
    assert names == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    }
    assert sum(path.stat().st_size for path in TINY.iterdir()) <= 9_000_000


def test_there_is_enough_text() -> None:
    assert len(lines(HELDOUT, "text")) >= 30
    assert len(set(lines(PROMPTS, "prompt"))) == len(lines(PROMPTS, "prompt")) >= 64
    assert len(lines(CALIBRATION, "text")) >= 128
    assert all(
        text.strip()
        for path, key in ((HELDOUT, "text"), (PROMPTS, "prompt"), (CALIBRATION, "text"))
        for text in lines(path, key)
    )


def test_most_held_out_documents_are_not_in_the_training_text() -> None:
    train, heldout = split()
    assert heldout == lines(HELDOUT, "text")
    trained = "".join(train.values())
    # the reference repeats itself; `split` says what that does to the perplexity
    assert sum(text in trained for text in heldout) == 21


def test_the_text_files_are_made_again_as_they_are() -> None:
    train, _ = split()
    assert prompts(train, SEED) == lines(PROMPTS, "prompt")
    assert calibration(train) == lines(CALIBRATION, "text")


@pytest.fixture(scope="module")
def loaded():
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    return AutoModelForCausalLM.from_pretrained(
        TINY, dtype=torch.float32
    ).eval(), AutoTokenizer.from_pretrained(TINY)


def test_it_speaks_in_turns_and_stops(loaded) -> None:
    model, tokenizer = loaded
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is assert?"}], add_generation_prompt=True, tokenize=False
    )
    assert text == "<|im_start|>user\nWhat is assert?<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.convert_ids_to_tokens(model.generation_config.eos_token_id) == [
        "<|im_end|>",
        "<|endoftext|>",
    ]
    assert tokenizer.eos_token == "<|im_end|>"
    found = model.generate(
        **tokenizer(text, return_tensors="pt"), max_new_tokens=24, do_sample=False
    )
    assert len(tokenizer.decode(found[0])) > len(text) + 24


def test_any_text_survives_the_tokenizer(loaded) -> None:
    _, tokenizer = loaded
    text = "def f(x):\n\treturn 'ä🙂'  # € \r\n"
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_held_out_documents_and_prompts_fit(loaded) -> None:
    _, tokenizer = loaded
    assert max(len(tokenizer.encode(text)) for text in lines(HELDOUT, "text")) <= 512
    lengths = sorted(len(tokenizer.encode(prompt)) for prompt in lines(PROMPTS, "prompt"))
    assert lengths[0] < 10
    assert 100 < lengths[-1] < 256


def test_it_has_learned_and_rounding_its_weights_does_damage(loaded) -> None:
    """Round to nearest, a scale for 64 weights: 4 bits must cost clearly more than 8."""
    import torch

    from greenlight.models.builtin.train import perplexity

    model, tokenizer = loaded
    documents = lines(HELDOUT, "text")
    found, scored = perplexity(model, tokenizer, documents)
    assert scored > 12_000
    assert found < 60

    def logits() -> torch.Tensor:
        with torch.no_grad():
            return torch.cat(
                [
                    model(**tokenizer(text, return_tensors="pt")).logits[0].log_softmax(-1)
                    for text in documents[:30]
                ]
            )

    whole, divergence = logits(), {}
    weights = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    for bits in (4, 8):
        for name, weight in model.named_parameters():
            if weight.ndim == 2 and "layers" in name:
                groups = weights[name].reshape(-1, 64)
                scale = groups.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)
                weight.data = (groups / scale).round().mul(scale).reshape(weight.shape)
        divergence[bits] = (whole.exp() * (whole - logits())).sum(-1).mean().item()
    for name, weight in model.named_parameters():
        weight.data = weights[name]
    assert divergence[4] > 0.005
    assert divergence[4] > 20 * divergence[8]
    assert math.isfinite(divergence[8])
