import json
import subprocess
import sys
from pathlib import Path

import pytest

from greenlight.benchmark.prompts import check_prompts, load_prompts, load_texts
from greenlight.core.errors import InputError


def test_reads_a_prompt_a_line(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"prompt": "a\\u2028b"}\n\n{"prompt": "c", "id": 3}\n')
    assert load_prompts(str(path)) == ["a\u2028b", "c"]


def test_reads_chats(tmp_path: Path) -> None:
    chat = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "why?"}]
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps({"messages": chat, "id": 1}) + '\n{"prompt": "a"}\n')
    assert load_prompts(str(path)) == [chat, "a"]
    assert load_texts(str(path)) == ["why?", "a"]


def test_builtin() -> None:
    assert len(load_prompts("builtin")) > 10


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "holds no prompt"),
        ("\n \n", "holds no prompt"),
        ('{"prompt": "a"}\nhello\n', "line 2 is not JSON"),
        ('{"prompt": "a"}\n\n{"text": "b"}\n', "line 3 has no text"),
        ('{"prompt": 3}', "line 1 has no text"),
        ('{"prompt": " "}', "line 1 has no text"),
        ('["a"]', "line 1 has no text"),
        ('{"messages": []}', "line 1: messages is not a list"),
        ('{"messages": [{"role": "user"}]}', "line 1: a message needs role and content"),
        ('{"messages": [{"role": "user", "content": " "}]}', "line 1: the last message is empty"),
        (b"\xff\xff", "not UTF-8"),
    ],
)
def test_bad_files_are_refused_with_the_line(
    tmp_path: Path, content: str | bytes, says: str
) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=says) as caught:
        check_prompts(str(path))
    assert caught.value.field == "prompts"
    assert caught.value.value == str(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        check_prompts(str(tmp_path / "nothing.jsonl"))
    with pytest.raises(InputError, match="is a folder"):
        check_prompts(str(tmp_path))


def test_the_check_is_cheap() -> None:
    heavy = (
        "import sys, greenlight.benchmark.prompts, greenlight.benchmark.workload,"
        " greenlight.gate.objectives; "
    )
    heavy += (
        "print([name for name in ('numpy', 'scipy', 'pandas', 'pyarrow', 'kfp', 'gevent',"
        " 'requests') if name in sys.modules])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", heavy], check=True, capture_output=True, text=True
        ).stdout.strip()
        == "[]"
    )
