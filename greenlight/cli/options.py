"""Command-line options made from the names, types, defaults and descriptions of a model's own
fields.
"""

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer
from pydantic import BaseModel, ValidationError

from greenlight.core.errors import InputError


def takes(
    *models: type[BaseModel], from_environment: tuple[type[BaseModel], ...] = (), **defaults: Any
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorate a command `def f(values: Model, other: Other, **others)`: it gets an option for each
    field of each model, in place of the parameter.

    Args:
        models: the types of the command's first parameters, in their order.
        from_environment: those whose options also come from GREENLIGHT_ and their name.
        defaults: what the command line uses instead of the field's own default.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        others = list(inspect.signature(command).parameters.values())[len(models) :]

        def with_options(**options: Any) -> None:
            values = [
                _checked(model, {name: options.pop(name) for name in model.model_fields})
                for model in models
            ]
            command(*values, **options)

        fields = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=defaults.get(name, info.default),
                annotation=Annotated[  # type: ignore[valid-type]
                    info.annotation,
                    typer.Option(
                        help=info.description,
                        envvar=f"GREENLIGHT_{name.upper()}" if model in from_environment else None,
                        rich_help_panel="Where the steps run"
                        if model in from_environment
                        else None,
                    ),
                ],
            )
            for model in models
            for name, info in model.model_fields.items()
        ]
        rest = [other.replace(kind=inspect.Parameter.KEYWORD_ONLY) for other in others]
        # A command's arguments come first: typer goes by this order.
        with_options.__signature__ = inspect.Signature(rest + fields if rest else fields)  # type: ignore[attr-defined]
        with_options.__name__, with_options.__doc__ = command.__name__, command.__doc__
        return with_options

    return decorate


def _checked(model: type[BaseModel], options: dict[str, Any]) -> BaseModel:
    """Raises InputError, naming the option, when a value is out of its range."""
    try:
        return model(**options)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]).replace("_", "-") if first["loc"] else model.__name__
        raise InputError(
            f"--{name}", first["input"], first["msg"].removeprefix("Value error, ")
        ) from None
