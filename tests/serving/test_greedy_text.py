"""Greedy text: what PRECISION exact and fast promise of a text that is decoded beside others. Both
promises hold on a CPU that multiplies bfloat16 and on one that does not.
"""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from greenlight.core.errors import InputError
from greenlight.evaluate.golden import MARGIN
from greenlight.evaluate.scorers import OpenVINOScorer
from greenlight.serving.artifact import Artifact
from greenlight.serving.engine_config import engine_config
from greenlight.serving.engines.precision import OPENVINO_PROPERTIES
from greenlight.serving.settings import Settings
from tests.serving.library import LENGTH, PROMPTS, Greedy, ask_library, greedy
from tests.serving.server_process import TINY, Server

BESIDE = 24  # requests at a time


@pytest.fixture(scope="module", params=["openvino", "transformers"])
def exact(
    request: pytest.FixtureRequest, starting: dict[str, Server]
) -> Iterator[tuple[Server, list[Greedy]]]:
    """A server that computes in 32 bits, and the library's own answers in these. For transformers
    and a plain checkpoint on CPU that is each server.
    """
    if request.param == "transformers":
        server = request.getfixturevalue("starting")["transformers"].wait_ready()
        yield server, ask_library("transformers", TINY, {})
        return
    folder: Path = request.getfixturevalue("openvino_model")
    server = Server(model_id=folder, default_temperature=0, precision="exact").wait_ready()
    yield server, ask_library("openvino", folder, OPENVINO_PROPERTIES["exact"])
    server.stop()


def ask_beside_others(server: Server) -> list[tuple[int, str]]:
    """Eight streamed answers per prompt, many at a time: (number of the prompt, text)."""
    numbers = list(range(len(PROMPTS))) * 8
    with ThreadPoolExecutor(BESIDE) as pool:
        texts = pool.map(lambda n: server.post(greedy(PROMPTS[n], stream=True)).text, numbers)
        return list(zip(numbers, texts, strict=True))


def test_exact_text_is_the_librarys_own_alone_and_beside_others(
    exact: tuple[Server, list[Greedy]],
) -> None:
    server, own = exact
    assert [server.post(greedy(prompt)).json["text"] for prompt in PROMPTS] == [
        each.text for each in own
    ]
    wrong = [(PROMPTS[n], text) for n, text in ask_beside_others(server) if text != own[n].text]
    assert not wrong


def test_exact_text_of_a_long_prompt_is_the_same_beside_others(
    exact: tuple[Server, list[Greedy]],
) -> None:
    """Beside others a prompt is read in other steps than alone."""
    server, _ = exact
    long = greedy("The import statement " * 150, max_length=16, ignore_eos=True)
    alone = server.post(long).json["text"]
    with ThreadPoolExecutor(8) as pool:
        streams = [
            pool.submit(server.post, greedy(PROMPTS[n % 3], stream=True, ignore_eos=True))
            for n in range(6)
        ]
        beside = [pool.submit(server.post, long) for _ in range(2)]
        assert [answer.result().json["text"] for answer in beside] == [alone, alone]
        assert all(
            sum(event["tokens"] for event in stream.result().events) == LENGTH for stream in streams
        )


@pytest.mark.parametrize(
    "more",
    [
        {"temperature": 2, "top_k": 1},
        {"temperature": 2, "top_p": 1e-6},
        {"temperature": 2, "top_p": 5e-324},
        {"temperature": 5e-324},
    ],
    ids=str,
)
def test_top_k_one_and_tiny_top_p_are_greedy(
    exact: tuple[Server, list[Greedy]], more: dict[str, float]
) -> None:
    """In exact, because two logits that are equal in bfloat16 leave sampling a choice."""
    server, _ = exact
    body = greedy("What is await?")
    assert server.post(body | more).json["text"] == server.post(body).json["text"]


def test_fast_text_is_the_librarys_own_alone_and_beside_others_up_to_an_unclear_choice(
    start: Callable[..., Server], openvino_model: Path
) -> None:
    server = start(precision="fast")
    own = ask_library("openvino", openvino_model, {})
    assert [server.post(greedy(prompt)).json["text"] for prompt in PROMPTS] == [
        each.text for each in own
    ]
    tokenizer = Tokenizer.from_file(str(TINY / "tokenizer.json"))
    scorer = OpenVINOScorer(str(openvino_model / "openvino_model.xml"), 1)
    for number, text in ask_beside_others(server):
        if text == own[number].text:
            continue
        tokens = own[number].tokens
        same = max(
            count
            for count in range(len(tokens) + 1)
            if text.startswith(tokenizer.decode(tokens[:count]).rstrip("\ufffd"))
        )
        ids = tokenizer.encode(PROMPTS[number]).ids + tokens[:same]
        first, second = scorer.logits(ids, 1)[-1].topk(2).values.tolist()
        assert first - second < MARGIN, (PROMPTS[number], text, own[number].text)


def test_exact_holds_fewer_tokens_in_the_same_memory(openvino_model: Path) -> None:
    artifact = Artifact.open(str(openvino_model))
    kind = artifact.choose_engine("openvino")
    tokens = [
        engine_config(
            Settings(model_id=str(openvino_model), precision=precision, kv_cache_mb=40),
            artifact,
            kind,
        ).kv_tokens
        for precision in ("fast", "exact")
    ]
    assert tokens[0] / tokens[1] == pytest.approx(4 / 1.125, rel=0.01)


def test_exact_is_refused_where_the_engine_computes_in_less(tmp_path: Path) -> None:
    for name in ("tokenizer.json", "model.safetensors", "config.json"):
        (tmp_path / name).write_bytes((TINY / name).read_bytes())
    config = json.loads((tmp_path / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    artifact = Artifact.open(str(tmp_path))
    settings = Settings(model_id=str(tmp_path), precision="exact")
    with pytest.raises(InputError, match=r"PRECISION.*'exact'.*bitsandbytes.*set it to fast"):
        engine_config(settings, artifact, artifact.choose_engine("transformers"))
