"""OpenAI's API on both engines. The `openai` client itself is no dependency: these are the bytes
that it reads and sends.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from greenlight.serving.chat import ChatTemplate
from tests.serving.server_process import Server

COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
TEXT: dict[str, Any] = {
    "model": "any",
    "prompt": "What is await?",
    "max_tokens": 16,
    "temperature": 0,
    "ignore_eos": True,
}
TALK: dict[str, Any] = {
    "model": "any",
    "messages": [{"role": "user", "content": "What is await?"}],
    "max_tokens": 16,
    "temperature": 0,
    "ignore_eos": True,
}


def test_a_completion_is_what_generate_says(server: Server) -> None:
    answer = server.post(TEXT, COMPLETIONS).json
    own = server.post(
        {"prompt": "What is await?", "max_length": 16, "temperature": 0, "ignore_eos": True}
    ).json
    (choice,) = answer["choices"]
    assert choice == {"index": 0, "text": own["text"], "logprobs": None, "finish_reason": "length"}
    assert (
        answer["object"] == "text_completion"
        and answer["id"].startswith("cmpl-")
        and answer["model"] == server.get("/v1/models").json["data"][0]["id"]
    )
    assert answer["usage"] == {**own["usage"], "total_tokens": own["usage"]["prompt_tokens"] + 16}
    assert server.post(TEXT | {"prompt": [TEXT["prompt"]]}, COMPLETIONS).json["choices"] == [choice]


def test_a_streamed_completion(server: Server) -> None:
    whole = server.post(TEXT, COMPLETIONS).json
    events = server.post(TEXT | {"stream": True}, COMPLETIONS).events
    assert "".join(event["choices"][0]["text"] for event in events) == whole["choices"][0]["text"]
    assert [event["choices"][0]["finish_reason"] for event in events] == [None] * (
        len(events) - 1
    ) + ["length"]
    assert len({event["id"] for event in events}) == 1 and not any(
        "usage" in event for event in events
    )


def test_chat_and_its_stream(server: Server) -> None:
    whole = server.post(TALK, CHAT).json
    message = whole["choices"][0]["message"]
    assert (
        message["role"] == "assistant"
        and message["content"]
        and whole["object"] == "chat.completion"
    )
    first, *pieces, last, usage = server.post(
        TALK | {"stream": True, "stream_options": {"include_usage": True}}, CHAT
    ).events
    assert (
        first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
        and first["object"] == "chat.completion.chunk"
    )
    assert (
        "".join(piece["choices"][0]["delta"]["content"] for piece in pieces) == message["content"]
    )
    assert last["choices"][0]["delta"] == {} and last["choices"][0]["finish_reason"] == "length"
    assert usage["choices"] == [] and usage["usage"] == whole["usage"] and first["usage"] is None


def test_chat_is_the_template_and_parts_are_joined(server: Server) -> None:
    template = (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nWhat is"
        " await?<|im_end|>\n<|im_start|>assistant\n"
    )
    parts = [{"type": "text", "text": "What is "}, {"type": "text", "text": "await?"}]
    talk = TALK | {
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": parts},
        ],
        "max_completion_tokens": 16,
    }
    answer = server.post(talk, CHAT).json
    plain = server.post(TEXT | {"prompt": template}, COMPLETIONS).json
    assert answer["choices"][0]["message"]["content"] == plain["choices"][0]["text"]
    assert answer["usage"] == plain["usage"]


def test_token_ids_as_prompt(server: Server) -> None:
    assert (
        server.post(TEXT | {"prompt": [5, 6, 7]}, COMPLETIONS).json["usage"]["prompt_tokens"] == 3
    )
    assert server.post(TEXT | {"prompt": [[5, 6, 7]]}, COMPLETIONS).status == 200


def test_a_stop_string(server: Server) -> None:
    whole = server.post(TEXT, COMPLETIONS).json["choices"][0]["text"]
    stopped = server.post(TEXT | {"stop": whole[10:14], "stream": True}, COMPLETIONS).events
    assert (
        "".join(event["choices"][0]["text"] for event in stopped)
        == whole[: whole.index(whole[10:14])]
    )
    assert stopped[-1]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("path", "more", "param"),
    [
        (COMPLETIONS, {"logprobs": 5}, "logprobs"),
        (COMPLETIONS, {"n": 2}, "n"),
        (COMPLETIONS, {"best_of": 3}, "best_of"),
        (COMPLETIONS, {"echo": True}, "echo"),
        (COMPLETIONS, {"prompt": ["a", "b"]}, "prompt"),
        (COMPLETIONS, {"prompt": []}, "prompt"),
        (COMPLETIONS, {"prompt": ""}, "prompt"),
        (COMPLETIONS, {"prompt": [2048]}, "prompt"),
        (COMPLETIONS, {"prompt": [-1]}, "prompt"),
        (COMPLETIONS, {"prompt": [2**80]}, "prompt"),
        (COMPLETIONS, {"prompt": [True]}, "prompt"),
        (COMPLETIONS, {"max_tokens": 5000}, "max_tokens"),
        (CHAT, {"logprobs": True}, "logprobs"),
        (CHAT, {"tools": [{"type": "function"}]}, "tools"),
        (CHAT, {"response_format": {"type": "json_object"}}, "response_format"),
        (CHAT, {"presence_penalty": 0.5}, "presence_penalty"),
        (CHAT, {"messages": []}, "messages"),
        (CHAT, {"messages": [{"role": "king", "content": "x"}]}, "messages"),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages"),
        (CHAT, {"messages": [{"role": "user", "content": None}]}, "messages"),
        (CHAT, {"max_completion_tokens": 8}, "max_completion_tokens"),
        (CHAT, {"max_tokens": None, "max_completion_tokens": 4000}, "max_completion_tokens"),
        (CHAT, {"stream_options": "usage"}, "stream_options"),
    ],
    ids=str,
)
def test_refusals_name_the_field(
    server: Server, path: str, more: dict[str, Any], param: str
) -> None:
    answer = server.post((TEXT if path == COMPLETIONS else TALK) | more, path)
    assert (
        answer.status == 400
        and answer.json["error"]["param"] == param
        and answer.json["error"]["message"].startswith(param)
    )


def test_fields_that_change_nothing_are_accepted(server: Server) -> None:
    harmless = {
        "user": "me",
        "n": 1,
        "logprobs": False,
        "presence_penalty": 0,
        "tools": [],
        "tool_choice": "none",
        "response_format": {"type": "text"},
        "seed": -5,
    }
    assert server.post(TALK | harmless, CHAT).status == 200


def test_a_template_of_its_own(tmp_path: Path) -> None:
    assert not ChatTemplate.open(tmp_path)
    king = "{% if m.role == 'king' %}{{ raise_exception('no kings') }}{% endif %}"
    source = (
        "{{ bos_token }}{% for m in messages %}\n"
        + king
        + "\n[{{ m.content | tojson }}]\n{% endfor %}"
    )
    config = {
        "chat_template": [{"name": "default", "template": source}],
        "bos_token": {"content": "<s>"},
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    template = ChatTemplate.open(tmp_path)
    assert template.render([{"role": "user", "content": "<é>"}]) == '<s>["<é>"]\n'
    with pytest.raises(ValueError, match="no kings"):
        template.render([{"role": "king", "content": ""}])
    (tmp_path / "chat_template.jinja").write_text("{% broken")
    assert not ChatTemplate.open(tmp_path)


def test_a_template_cannot_reach_python(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text(
        "{{ messages.__class__.__mro__[-1].__subclasses__() }}"
    )
    with pytest.raises(ValueError, match="unsafe"):
        ChatTemplate.open(tmp_path).render([])
