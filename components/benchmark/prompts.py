"""The prompts of a benchmark: a JSON object a line, `{"prompt": "…"}`."""

import json
from pathlib import Path

from components import storage
from components.errors import InputError

BUILTIN = Path(__file__).parent.parent / "download" / "builtin" / "prompts.jsonl"
MAX_REPORTED = 60


def load_prompts(prompts: str) -> list[str]:
    """Read the prompts of `builtin`, a path or a gs:// URI. Blank lines are skipped.

    Raises:
        InputError: there is no such file, it holds no prompt, or a line is not `{"prompt": "…"}`. Names the line.
    """
    uri = str(BUILTIN) if prompts == "builtin" else prompts
    try:
        text = storage.read_bytes(uri).decode()
    except FileNotFoundError:
        raise InputError("prompts", prompts, "there is no such file; give the path or gs:// URI of a JSONL file, or builtin") from None
    except IsADirectoryError:
        raise InputError("prompts", prompts, "is a folder; give the path of a JSONL file in it") from None
    except PermissionError:
        raise InputError("prompts", prompts, "may not be read; allow this user to read the file") from None
    except UnicodeDecodeError as error:
        raise InputError("prompts", prompts, f"is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    found = [_prompt(prompts, number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not found:
        raise InputError("prompts", prompts, 'holds no prompt; write one JSON object a line, such as {"prompt": "Once upon a time"}')
    return found


def check_prompts(prompts: str) -> None:
    """Raises InputError when `prompts` cannot be used. Cheap for local files."""
    load_prompts(prompts)


def _prompt(prompts: str, number: int, line: str) -> str:
    fix = 'write {"prompt": "…"}'
    try:
        value = json.loads(line)
    except ValueError:
        raise InputError("prompts", prompts, f"line {number} is not JSON ({line.strip()[:MAX_REPORTED]!r}); {fix}") from None
    if isinstance(value, dict) and "messages" in value and "prompt" not in value:
        raise InputError("prompts", prompts, f"line {number} is a chat, which cannot be sent yet; apply the model's chat template to it and {fix}")
    prompt = value.get("prompt") if isinstance(value, dict) else None
    if not isinstance(prompt, str) or not prompt.strip():
        raise InputError("prompts", prompts, f"line {number} has no text under the key prompt ({line.strip()[:MAX_REPORTED]!r}); {fix}")
    return prompt
