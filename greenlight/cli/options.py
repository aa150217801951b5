"""Command-line options made from the names, types, defaults and descriptions of a model's own
fields. Those that say where a service and its history are come from the fields of Parameters.
"""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel, Field, ValidationError

from greenlight.core.errors import InputError
from greenlight.resolve.parameters import FROM_ENVIRONMENT, Parameters

FIRST_PORT = int(Parameters.model_fields["port"].default)


def _as_parameter(name: str, default: Any = None, also: str = "") -> Any:
    """A field with the default and the description of a parameter.

    Args:
        default: another default than the parameter's.
        also: what the description says beyond the parameter's.
    """
    field = Parameters.model_fields[name]
    return Field(
        field.default if default is None else default,
        description=f"{field.description or ''} {also}".strip(),
    )


class HistoryOptions(BaseModel):
    """Which history a command reads or writes."""

    home: Path = _as_parameter("home")
    history: str = _as_parameter("history", "", "Empty: the folder `history` in the home folder.")

    @property
    def place(self) -> str:
        """Folder or gs:// prefix of the history."""
        return self.history or str(self.home.absolute() / "history")


class ServiceOptions(BaseModel):
    """Which service a command is about."""

    target: str = _as_parameter("target")
    service: str = _as_parameter("service")
    namespace: str = _as_parameter("namespace")
    home: Path = _as_parameter("home")


class ServiceHistoryOptions(HistoryOptions):
    """Which service's runs a command reads, and where they are."""

    service: str = _as_parameter("service")


class RecordedServiceOptions(ServiceOptions, HistoryOptions):
    """Which service a command is about, and the history that says what was done with it."""


FROM_PARAMETERS = (Parameters, HistoryOptions, ServiceOptions)


def takes(
    *models: type[BaseModel], from_environment: tuple[type[BaseModel], ...] = (), **defaults: Any
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorate a command `def f(values: Model, other: Other, **others)`: it gets an option for each
    field of each model, in place of the parameter.

    Args:
        models: the types of the command's first parameters, in their order.
        from_environment: those whose options also come from GREENLIGHT_ and their name. Of
            Parameters and what is made from it these are `FROM_ENVIRONMENT`.
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
                default=defaults.get(
                    name, inspect.Parameter.empty if info.is_required() else info.default
                ),
                annotation=Annotated[
                    info.annotation,
                    typer.Option(
                        help=info.description,
                        envvar=f"GREENLIGHT_{name.upper()}"
                        if model in from_environment
                        or (issubclass(model, FROM_PARAMETERS) and name in FROM_ENVIRONMENT)
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
