"""The prompts of a benchmark: a JSON object per line, a text `{"prompt": "…"}` or a chat
`{"messages": [{"role": "user", "content": "…"}]}`.
"""

import json
from typing import Any

from greenlight.core import storage
from greenlight.core.errors import InputError
from greenlight.core.json_lines import parse_line, split_lines
from greenlight.models.builtin import PROMPTS

MAX_REPORTED = 60

Chat = list[dict[str, str]]
Prompt = str | Chat


def load_prompts(prompts: str) -> list[Prompt]:
    """Read the prompts of `builtin`, a path or a gs:// URI. Blank lines are skipped.

    Raises:
        InputError: there is no such file, it holds no prompt, or a line is neither a text nor a
            chat. Names the line.
    """
    found = [
        _prompt(prompts, number, value)
        for number, value in read_objects(
            "prompts", str(PROMPTS) if prompts == "builtin" else prompts, prompts
        )
    ]
    if not found:
        raise InputError(
            "prompts",
            prompts,
            'holds no prompt; write a JSON object per line, such as {"prompt": "Once upon a time"}',
        )
    return found


def load_texts(prompts: str) -> list[str]:
    """The same as texts: of a chat what was said last. Raises: as `load_prompts`."""
    return [
        prompt if isinstance(prompt, str) else prompt[-1]["content"]
        for prompt in load_prompts(prompts)
    ]


def check_prompts(prompts: str) -> None:
    """Raises InputError when `prompts` cannot be used. Cheap for local files."""
    load_prompts(prompts)


def read_objects(field: str, uri: str, shown: str) -> list[tuple[int, Any]]:
    """The values of a JSONL file with the numbers of their lines.

    Raises:
        InputError: there is no such file, or a line is not JSON. `field` and `shown` are what the
            message calls it.
    """
    try:
        data = storage.read_bytes(uri)
    except FileNotFoundError:
        raise InputError(
            field,
            shown,
            "there is no such file; give the path or gs:// URI of a JSONL file, or builtin",
        ) from None
    except IsADirectoryError:
        raise InputError(field, shown, "is a folder; give the path of a JSONL file in it") from None
    except PermissionError:
        raise InputError(
            field, shown, "may not be read; allow this user to read the file"
        ) from None
    values = []
    for number, line in split_lines(field, shown, data):
        try:
            values.append((number, parse_line(line)))
        except ValueError:
            raise InputError(
                field,
                shown,
                f"line {number} is not JSON ({line.strip()[:MAX_REPORTED]!r}); write one JSON"
                " object per line",
            ) from None
    return values


def _prompt(prompts: str, number: int, value: Any) -> Prompt:
    line = json.dumps(value)[:MAX_REPORTED]
    if isinstance(value, dict) and "messages" in value and "prompt" not in value:
        if not chat_problem(value["messages"]):
            return [
                {"role": message["role"], "content": message["content"]}
                for message in value["messages"]
            ]
        raise InputError(
            "prompts",
            prompts,
            f'line {number}: {chat_problem(value["messages"])} ({line!r}); write {{"messages":'
            ' [{"role": "user", "content": "…"}]}',
        )
    prompt = value.get("prompt") if isinstance(value, dict) else None
    if not isinstance(prompt, str) or not prompt.strip():
        raise InputError(
            "prompts",
            prompts,
            f'line {number} has no text under the key prompt ({line!r}); write {{"prompt": "…"}}',
        )
    return prompt


def chat_problem(messages: Any) -> str:
    """What is wrong with a chat; empty when nothing is."""
    if not isinstance(messages, list) or not messages:
        return "messages is not a list of messages"
    for message in messages:
        if (
            not isinstance(message, dict)
            or not isinstance(message.get("role"), str)
            or not isinstance(message.get("content"), str)
        ):
            return "a message needs role and content, both texts"
    return "" if messages[-1]["content"].strip() else "the last message is empty"
