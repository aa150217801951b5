"""Prompts are, letter for letter, what transformers makes of the same chat."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from greenlight.serving.chat import ChatTemplate
from tests.models.cases import cases_tokens as cases
from tests.serving.server_process import Server

USER = {"role": "user", "content": 'Hi <b>é</b> & "you"\n'}
CHATS: list[list[dict[str, Any]]] = [
    [USER],
    [{"role": "system", "content": " Be kind. "}, USER],
    [USER, {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "日本語 🙂"}],
    [USER, {"role": "assistant", "content": ""}, {"role": "tool", "content": "{}", "name": "f"}],
    [USER, USER],
]
PARTS: list[dict[str, Any]] = [
    {"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]},
]

LOOP = "{% for m in messages %}"
TEMPLATES = {
    # 25: SmolLM3 and Phi-4-reasoning publish it
    "generation": LOOP
    + "{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] }}{% endgeneration %}"
    "{% else %}{{ m['content'] }}{% endif %}{% endfor %}",
    "generation over lines": LOOP
    + "\n    {%- generation -%}\n    [{{ m.content }}]\n    {%- endgeneration %}\n{% endfor %}\n",
    "generation is a scope": "{% set a = 'out' %}"
    + LOOP
    + "{% generation %}{% set a = 'in' %}{{ a }}{% endgeneration %}{{ a }}{% endfor %}",
    "special tokens": "{{ bos_token }}" + LOOP + "{{ m.content }}{{ eos_token }}{% endfor %}",
    "a token that is not there": "{{ unk_token }}|{{ unk_token is defined }}|{{ sep_token }}",
    "all that is given": "{{ tools is none }}{{ documents is none }}{{ add_generation_prompt }}"
    "{{ continue_final_message is defined }}{{ pad_token }}",
    "generation prompt": LOOP + "<|{{ m.role }}|>\n{{ m.content | trim }}\n{% endfor %}\n"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}",
    "tojson": LOOP + "{{ m | tojson }}{% endfor %}",
    "tojson with arguments": LOOP
    + "{{ m | tojson(ensure_ascii=True) }}{{ m | tojson(indent=2) }}{{ m | tojson(indent='\t') }}"
    "{{ m | tojson(separators=(',', ':')) }}{{ m | tojson(sort_keys=true) }}"
    "{{ m | tojson(true, 1) }}{% endfor %}",
    "strftime_now": "{{ strftime_now('%Y') }}{{ strftime_now(format='%d %b %Y') }}",
    "raise_exception": LOOP
    + "{% if m.role == 'system' %}{{ raise_exception('no system message') }}{% endif %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{{ m.content }}{% endfor %}",
    "loop controls": LOOP + "{% if loop.index0 > 1 %}{% break %}{% endif %}"
    "{% if m.role == 'system' %}{% continue %}{% endif %}{{ m.content }}{% endfor %}",
    "white space": LOOP
    + "\n  {% if true %}\n   {{ m.content }}\n  {%- endif %}\n\n {# note #}\n{% endfor %}\n\n",
    "windows line ends": LOOP + "\r\n[{{ m.role }}]\r\n{% endfor %}\r\n",
    "namespace": "{% set ns = namespace(found=false) %}"
    + LOOP
    + "{% if m.role == 'system' %}{% set ns.found = true %}{% endif %}{% endfor %}{{ ns.found }}",
    "macro": "{% macro show(m, open='<') %}{{ open }}{{ m.role }}>{{ m.content }}{% endmacro %}"
    + LOOP
    + "{{ show(m) }}{{ show(m, open='[') }}{% endfor %}",
    "methods and slices": "{{ messages[0].content.split('\n')[-1] }}{{ messages[::-1][0]['role'] }}"
    "{{ messages[0].content.strip().upper() }}{{ messages | length }}{{ messages[1:] | length }}",
    "get and items": LOOP
    + "{{ m.get('name', 'nobody') }}{% for k, v in m.items() %}{{ k }}{% endfor %}{% endfor %}",
    "filters": LOOP
    + "{{ m.content | replace('<', '[') | upper | indent(2) }}{{ m.role | capitalize }}{% endfor %}"
    "{{ messages | map(attribute='role') | join(',') }}"
    "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}",
    "an attribute that is not there": LOOP
    + "{{ m.tool_calls }}{{ m['x'] is defined }}{% endfor %}",
    "of what is not there": LOOP + "{{ m.tool_calls[0].name }}{% endfor %}",
    "division by zero": "{{ 1 // 0 }}",
    "a wrong type": "{{ messages + 'a' }}",
    "python is out of reach": "{{ messages.__class__.__mro__ }}",
    "no change of messages": "{{ messages.append(1) }}",
    "endless": "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}",
    "content as parts": LOOP + "{% if m.content is string %}{{ m.content }}{% else %}"
    "{% for part in m.content %}<{{ part.text }}>{% endfor %}{% endif %}{% endfor %}",
}


def transformers_render(folder: Path, chat: list[dict[str, Any]], ask: bool) -> str | None:
    """None where it refuses."""
    from transformers import AutoTokenizer

    try:
        return str(
            AutoTokenizer.from_pretrained(folder).apply_chat_template(
                chat, tokenize=False, add_generation_prompt=ask
            )
        )
    except Exception:
        return None


def assert_same(folder: Path, chats: list[list[dict[str, Any]]]) -> None:
    template = ChatTemplate.open(folder)
    for chat in chats:
        for ask in (True, False):
            wanted = transformers_render(folder, chat, ask)
            if wanted is None:
                with pytest.raises(ValueError, match=r"."):
                    template.render(chat, ask)
            else:
                assert template.render(chat, ask) == wanted


@pytest.mark.parametrize("kind", TEMPLATES)
def test_templates(kind: str, tmp_path: Path) -> None:
    folder = cases.tiny(tmp_path / "model")
    (folder / "chat_template.jinja").write_bytes(TEMPLATES[kind].encode())
    assert ChatTemplate.open(folder)
    assert_same(folder, CHATS)


@pytest.mark.parametrize("kind", cases.DISAGREEING)
def test_special_tokens_from_wherever_they_stand(kind: str, tmp_path: Path) -> None:
    """23: those of special_tokens_map.json were empty."""
    folder = cases.tiny(tmp_path / "model")
    (folder / "chat_template.jinja").write_text(
        "{{ bos_token }}|{{ eos_token }}|{{ pad_token }}|{{ unk_token }}|{{ image_token }}"
    )
    cases.DISAGREEING[kind](folder)
    assert_same(folder, CHATS[:1])


@pytest.mark.parametrize(
    "value",
    [
        "one",
        [{"name": "default", "template": "one"}],
        [{"name": "tool_use", "template": "two"}, {"name": "default", "template": "one"}],
    ],
)
def test_templates_in_tokenizer_config(value: object, tmp_path: Path) -> None:
    folder = cases.tiny(tmp_path / "model")
    cases.edit(folder / cases.CONFIG, chat_template=value)
    (folder / "additional_chat_templates").mkdir()
    assert_same(folder, CHATS[:1])  # the file comes first
    (folder / "chat_template.jinja").unlink()
    assert_same(folder, CHATS[:1])
    assert ChatTemplate.open(folder).render([USER]) == "one"


def test_more_templates_beside_the_default(tmp_path: Path) -> None:
    folder = cases.tiny(tmp_path / "model")
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates/tool_use.jinja").write_text("tools")
    assert_same(folder, CHATS)


@pytest.mark.parametrize(
    "content",
    [
        "{% broken",
        "{% unknown %}",
        "{% generation %}",
        b"\xff",
        "{{ " + "(" * 3000,
    ],
)
def test_a_template_that_cannot_be_read(
    content: str | bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The model completes texts, and the log says why it does not chat."""
    folder = cases.tiny(tmp_path / "model")
    data = content if isinstance(content, bytes) else content.encode()
    (folder / "chat_template.jinja").write_bytes(data)
    assert not ChatTemplate.open(folder)


@pytest.mark.parametrize(
    "value", [[{"name": "tool_use", "template": "two"}], 7, {"tool_use": "two"}, [], None]
)
def test_no_template_in_tokenizer_config(value: object, tmp_path: Path) -> None:
    folder = cases.tiny(tmp_path / "model")
    (folder / "chat_template.jinja").unlink()
    cases.edit(folder / cases.CONFIG, chat_template=value)
    assert not ChatTemplate.open(folder)


def test_parts_are_given_to_a_template_that_goes_through_them(tmp_path: Path) -> None:
    folder = cases.tiny(tmp_path / "model")
    for inner, wanted in (
        ("{% for part in m.content %}{{ part.text }}|{% endfor %}", "one|two|"),
        ("{% for part in m['content'] %}{{ part['text'] }}|{% endfor %}", "one|two|"),
        ("{% set c = m.content %}{% for p in c %}{{ p.text }}|{% endfor %}", "one|two|"),
        ("{{ m.content }}", "onetwo"),
        ("{{ m['content'] | trim }}", "onetwo"),
    ):
        (folder / "chat_template.jinja").write_text(LOOP + inner + "{% endfor %}")
        assert ChatTemplate.open(folder).render(PARTS) == wanted
        if "for p" in inner:
            assert_same(folder, [PARTS])


def test_a_folder_without_a_tokenizer(tmp_path: Path) -> None:
    config = {"chat_template": "{{ bos_token }}{{ eos_token }}", "bos_token": {"content": "<s>"}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    assert ChatTemplate.open(tmp_path).render([USER]) == "<s>"


def test_a_prompt_with_a_token_without_weights_is_refused(
    start: Callable[..., Server], openvino_model: Path, tmp_path: Path
) -> None:
    """It was added to the tokenizer alone; the engine would read beyond its embeddings."""
    folder = Path(shutil.copytree(openvino_model, tmp_path / "model"))
    cases.edit(folder / cases.CONFIG, extra_special_tokens=["<|im_start|>", "<tool>"])
    server = start(model_id=folder)
    answer = server.post({"prompt": "a <tool> b", "max_length": 4})
    assert answer.status == 400
    assert "for which the model has no weights" in answer.json["error"]["message"]
    assert server.post({"prompt": "a b", "max_length": 4}).status == 200
