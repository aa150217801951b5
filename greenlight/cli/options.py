"""Command-line options made from the names, types, defaults and descriptions of a model's own
fields. Those that say where a service is come from the fields of Parameters.
"""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel, ValidationError

from greenlight.core.errors import InputError
from greenlight.resolve.parameters import FROM_ENVIRONMENT, Parameters


def parameter_option(name: str, also: str = "") -> Any:
    """The option for a parameter that says where a service is: its help text and its environment
    variable.

    Args:
        also: what the help text says beyond the description of the parameter.
    """
    said = Parameters.model_fields[name].description or ""
    return typer.Option(envvar=f"GREENLIGHT_{name.upper()}", help=f"{said} {also}".strip())


TARGET, SERVICE, NAMESPACE = (
    str(Parameters.model_fields[name].default) for name in ("target", "service", "namespace")
)
HOME = Path(str(Parameters.model_fields["home"].default))
FIRST_PORT = int(Parameters.model_fields["port"].default)
TargetOption = Annotated[str, parameter_option("target")]
ServiceOption = Annotated[str, parameter_option("service")]
NamespaceOption = Annotated[str, parameter_option("namespace")]
HomeOption = Annotated[Path, parameter_option("home")]
HistoryOption = Annotated[
    str, parameter_option("history", "Empty: the folder `history` in the home folder.")
]


def takes(
    *models: type[BaseModel], from_environment: tuple[type[BaseModel], ...] = (), **defaults: Any
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorate a command `def f(values: Model, other: Other, **others)`: it gets an option for each
    field of each model, in place of the parameter.

    Args:
        models: the types of the command's first parameters, in their order.
        from_environment: those whose options also come from GREENLIGHT_ and their name. Of
            Parameters these are `FROM_ENVIRONMENT`.
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
                annotation=Annotated[
                    info.annotation,
                    typer.Option(
                        help=info.description,
                        envvar=f"GREENLIGHT_{name.upper()}"
                        if model in from_environment
                        or (model is Parameters and name in FROM_ENVIRONMENT)
                        else None,
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
