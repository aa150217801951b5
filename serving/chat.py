"""A model's chat template: from messages to the prompt that the model was trained on."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from greenlight.serving.logs import log


class ChatTemplate:
    """Renders as transformers does: the same sandbox, the same functions, no code from the model's
    folder.
    """

    def __init__(self, folder: Path) -> None:
        """Look for a template in `folder`. A model without one, or with one that cannot be read,
        completes texts but does not chat.
        """
        config = _json(folder / "tokenizer_config.json")
        self._tokens = {
            name: _token(config.get(name))
            for name in ("bos_token", "eos_token", "pad_token", "unk_token")
        }
        source = _source(folder, config)
        self._template: jinja2.Template | None = None
        if source is not None:
            try:
                self._template = _environment().from_string(source)
            except jinja2.TemplateError as error:
                log.warning("chat_template_unusable", extra={"fields": {"reason": str(error)}})

    def __bool__(self) -> bool:
        return self._template is not None

    def render(self, messages: list[dict[str, Any]], ask: bool = True) -> str:
        """The prompt that asks for the assistant's next message, or without `ask` the chat as it
        is. Raises ValueError: the template refuses the messages.
        """
        assert self._template
        try:
            return self._template.render(
                messages=messages,
                add_generation_prompt=ask,
                tools=None,
                documents=None,
                **self._tokens,
            )
        except (jinja2.TemplateError, TypeError) as error:
            raise ValueError(str(error)) from None


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
    )

    def raise_exception(message: str) -> None:
        raise jinja2.TemplateError(message)

    def to_json(value: Any, indent: int | None = None) -> str:  # jinja2's own escapes HTML
        return json.dumps(value, ensure_ascii=False, indent=indent)

    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return environment


def _source(folder: Path, config: dict[str, Any]) -> str | None:
    """The template's text: a file of its own, or in tokenizer_config.json as a text or as a list of
    named ones.
    """
    path = folder / "chat_template.jinja"
    if path.is_file():
        return path.read_text()
    template = config.get("chat_template")
    if isinstance(template, list):
        template = next(
            (entry["template"] for entry in template if entry.get("name") == "default"), None
        )
    return template


def _json(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content


def _token(value: Any) -> str:
    return value.get("content", "") if isinstance(value, dict) else value or ""
