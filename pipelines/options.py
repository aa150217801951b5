"""Command-line options made from the parameters' own names, types, defaults and descriptions."""

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer
from pydantic import BaseModel


def takes(model: type[BaseModel], **defaults: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorate a command `def f(values: model, **others)`: it gets an option for each field of `model`.

    Args:
        defaults: what the command line uses instead of the field's own default.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        others = [p for p in inspect.signature(command).parameters.values() if p.name != "values"]

        def with_options(**options: Any) -> None:
            values = model(**{name: options.pop(name) for name in model.model_fields})
            command(values, **options)

        fields = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=defaults.get(name, info.default),
                annotation=Annotated[info.annotation, typer.Option(help=info.description)],  # type: ignore[valid-type]
            )
            for name, info in model.model_fields.items()
        ]
        with_options.__signature__ = inspect.Signature(fields + others)  # type: ignore[attr-defined]
        with_options.__name__, with_options.__doc__ = command.__name__, command.__doc__
        return with_options

    return decorate
