"""A model's chat template: from messages to the prompt that the model was trained on."""

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from greenlight.models.tokenizer import load_special_tokens
from greenlight.models.tokenizer_checks import TOKENIZER_CONFIG
from greenlight.serving.logs import log

UNUSABLE = (jinja2.TemplateError, ValueError, RecursionError)
TEMPLATE = "chat_template.jinja"


class ChatTemplate:
    """Renders as transformers does: the same sandbox, the same functions, no code from the model's
    folder.
    """

    def __init__(self, source: str | None, special: Mapping[str, str]) -> None:
        """Compile a template; a model without one completes texts but does not chat.

        Args:
            special: the special tokens by name, such as `bos_token`.

        Raises:
            jinja2.TemplateError, ValueError, RecursionError: it cannot be compiled.
        """
        self._template: jinja2.Template | None = None
        self._special = dict(special)
        if source is not None:
            environment = _environment()
            self._template = environment.from_string(source)
            self._reads_parts = _reads_parts(environment.parse(source))

    @classmethod
    def open(cls, folder: Path) -> "ChatTemplate":
        """The template in a model's folder. One that cannot be read is logged, and none then."""
        try:
            found = cls(_source(_template_files(folder)), {})
        except UNUSABLE as error:
            log.warning("chat_template_unusable", extra={"fields": {"reason": str(error)}})
            return cls(None, {})
        if found:
            found._special = load_special_tokens(folder)
        return found

    def __bool__(self) -> bool:
        return self._template is not None

    def render(self, messages: list[dict[str, Any]], ask: bool = True) -> str:
        """The prompt that asks for the assistant's next message, or without `ask` the chat as it
        is. Raises ValueError: the template refuses the messages.

        A content may be a list of parts `{"type": "text", "text": "…"}`. A template that does not
        go through parts is given their text.
        """
        assert self._template
        if not self._reads_parts:
            messages = [_joined(message) for message in messages]
        try:
            return self._template.render(
                messages=messages,
                add_generation_prompt=ask,
                tools=None,
                documents=None,
                **self._special,
            )
        # A template is a program that came with the model, and may fail in any way.
        except Exception as error:
            raise ValueError(str(error) or type(error).__name__) from None


def try_template(files: Mapping[str, bytes], special: Mapping[str, str]) -> str | None:
    """Why a model cannot chat, found by asking its template for one message of a user. Empty: it
    can. None: it has no template.

    Args:
        files: chat_template.jinja and tokenizer_config.json, those that are there.
        special: the special tokens by name.
    """
    try:
        template = ChatTemplate(_source(files), special)
        if not template:
            return None
        prompt = template.render([{"role": "user", "content": "Hello"}])
    except UNUSABLE as error:
        return str(error) or type(error).__name__
    return "" if "Hello" in prompt else "it leaves out what the user says"


class _Generation(Extension):
    """The block `{% generation %}`, which marks for training what the assistant says. Here it is
    its content.
    """

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        # A scope of its own, as for transformers: what is set in the block ends with it.
        return nodes.CallBlock(self.call_method("_content"), [], [], body).set_lineno(line)

    def _content(self, caller: Any) -> str:
        return str(caller())


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )

    def raise_exception(message: str) -> None:
        raise jinja2.TemplateError(message)

    def to_json(
        value: Any,
        ensure_ascii: bool = False,
        indent: int | str | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:  # jinja2's own escapes HTML
        return json.dumps(
            value,
            ensure_ascii=ensure_ascii,
            indent=indent,
            separators=separators,
            sort_keys=sort_keys,
        )

    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda format: datetime.now().strftime(format)
    return environment


def _template_files(folder: Path) -> dict[str, bytes]:
    paths = [folder / name for name in (TEMPLATE, TOKENIZER_CONFIG)]
    return {path.name: path.read_bytes() for path in paths if path.is_file()}


def _source(files: Mapping[str, bytes]) -> str | None:
    """The template's text: a file of its own, or in tokenizer_config.json as a text or as a list of
    named ones. Raises ValueError: a file cannot be read.
    """
    if TEMPLATE in files:
        return files[TEMPLATE].decode()
    config = json.loads(files.get(TOKENIZER_CONFIG, b"{}"))
    template = config.get("chat_template") if isinstance(config, dict) else None
    if isinstance(template, list):
        named = {
            each["name"]: each["template"]
            for each in template
            if isinstance(each, dict) and each.keys() >= {"name", "template"}
        }
        if named and "default" not in named:
            raise ValueError(
                f"there are templates {', '.join(sorted(map(str, named)))}, and none is the default"
            )
        template = named.get("default")
    elif isinstance(template, dict):
        template = template.get("default")
    if template is not None and not isinstance(template, str):
        raise ValueError("chat_template in tokenizer_config.json is no text")
    return template


def _reads_parts(template: nodes.Template) -> bool:
    """Whether a template goes through the parts of a message's content."""
    names = {"content"}
    for assigned in template.find_all(nodes.Assign):
        if isinstance(assigned.target, nodes.Name) and _is_content(assigned.node, names):
            names.add(assigned.target.name)
    return any(_is_content(loop.iter, names) for loop in template.find_all(nodes.For))


def _is_content(node: nodes.Node, names: set[str]) -> bool:
    if isinstance(node, nodes.Name):
        return node.name in names
    if isinstance(node, nodes.Getattr):
        return node.attr == "content"
    return (
        isinstance(node, nodes.Getitem)
        and isinstance(node.arg, nodes.Const)
        and node.arg.value == "content"
    )


def _joined(message: dict[str, Any]) -> dict[str, Any]:
    content = message.get("content")
    if not isinstance(content, list):
        return message
    return message | {"content": "".join(part.get("text", "") for part in content)}
