"""POST /generate on both engines: the answer, the stream, sampling, stops, limits."""

import pytest
from tokenizers import Tokenizer

from tests.serving.library import LENGTH, greedy
from tests.serving.server_process import TINY, Server


def test_the_answer(server: Server) -> None:
    answer = server.post(greedy("The import statement", ignore_eos=True))
    assert answer.status == 200 and answer.headers["content-type"] == "application/json"
    assert answer.json["finish_reason"] == "length" and answer.json["release_id"] == "test-release"
    tokens = len(
        Tokenizer.from_file(str(TINY / "tokenizer.json")).encode("The import statement").ids
    )
    assert answer.json["usage"] == {"prompt_tokens": tokens, "completion_tokens": LENGTH}


def test_the_stream_has_an_event_a_token_and_the_same_text(server: Server) -> None:
    body = greedy("The import statement", ignore_eos=True)
    streamed, whole = server.post(body | {"stream": True}), server.post(body).json
    assert streamed.headers["content-type"].startswith("text/event-stream")
    *pieces, last = streamed.events
    assert {frozenset(piece) for piece in pieces} == {frozenset({"text", "tokens"})}
    assert sum(piece["tokens"] for piece in pieces) == LENGTH and len(pieces) > LENGTH / 2
    assert last == {"text": "", "tokens": 0, "finish_reason": "length", "usage": whole["usage"]}
    assert streamed.text == whole["text"]


def test_the_end_token_ends_the_text_unless_it_is_ignored(server: Server) -> None:
    prompt = "<|im_start|>user\nWhat is await?<|im_end|>\n<|im_start|>assistant\n"
    bodies = [
        {"prompt": prompt, "max_length": 150, "temperature": 1, "top_k": 40, "seed": seed}
        for seed in range(30)
    ]
    body, ended = next(
        (body, answer)
        for body in bodies
        if (answer := server.post(body).json)["finish_reason"] == "stop"
    )
    assert ended["usage"]["completion_tokens"] < 150 and "<|im_end|>" not in ended["text"]
    longer = server.post(body | {"ignore_eos": True}).json
    assert longer["usage"]["completion_tokens"] == 150 and longer["text"].startswith(ended["text"])


def test_seeds(server: Server) -> None:
    body = {"prompt": "What is await?", "max_length": 24, "temperature": 1.5, "ignore_eos": True}
    seeded = [server.post(body | {"seed": seed}).json["text"] for seed in (1, 1, 2, 2**63 - 1)]
    assert seeded[0] == seeded[1] and len(set(seeded)) == 3
    assert len({server.post(body).json["text"] for _ in range(4)}) == 4, (
        "without a seed each request draws its own"
    )
    assert server.post(body | {"seed": 1, "stream": True}).text == seeded[0]


@pytest.mark.parametrize("stream", [False, True])
def test_a_stop_string_over_token_boundaries_ends_the_text(server: Server, stream: bool) -> None:
    body = greedy("The import statement", ignore_eos=True)
    whole = server.post(body).json
    stop = whole["text"][40:52]
    answer = server.post(body | {"stop": ["never in the text", stop], "stream": stream})
    text = answer.text if stream else answer.json["text"]
    end = answer.events[-1] if stream else answer.json
    assert text == whole["text"][: whole["text"].index(stop)]
    assert end["finish_reason"] == "stop" and end["usage"]["completion_tokens"] < LENGTH


def test_null_is_the_same_as_absent(server: Server) -> None:
    nulls = dict.fromkeys(
        ("max_length", "temperature", "stream", "top_p", "top_k", "seed", "stop", "ignore_eos")
    )
    answer = server.post({"prompt": "What is await?", **nulls})
    assert answer.status == 200 and answer.json == server.post({"prompt": "What is await?"}).json


def test_a_default_length_is_shortened_to_the_context_and_a_given_one_refused(
    server: Server,
) -> None:
    tokens_a_word = (
        len(Tokenizer.from_file(str(TINY / "tokenizer.json")).encode("word " * 100).ids) / 100
    )
    prompt = "word " * int(950 / tokens_a_word)
    answer = server.post({"prompt": prompt, "ignore_eos": True}).json
    room = 1024 - answer["usage"]["prompt_tokens"]
    assert (
        0 < room < 128
        and answer["usage"]["completion_tokens"] == room
        and answer["finish_reason"] == "length"
    )
    assert server.post({"prompt": prompt, "max_length": room, "ignore_eos": True}).status == 200
    refused = server.post({"prompt": prompt, "max_length": room + 1})
    assert (
        refused.status == 400
        and refused.json["error"]["param"] == "max_length"
        and str(room) in refused.json["error"]["message"]
    )
