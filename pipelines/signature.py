"""The signature of the pipeline's function, made from `Parameters`: names, types, defaults and
descriptions of a run's parameters are declared there and nowhere else.
"""

import inspect
from collections.abc import Callable
from typing import Any

from greenlight.resolve.parameters import Parameters


def with_parameters(dag: Callable[[Parameters], None]) -> Callable[..., None]:
    """Decorate the function of a DAG, for `dsl.pipeline`: KFP then sees one argument for each field
    of Parameters, and the function gets all of them as one object. Each field holds the channel
    that KFP made for it, not yet a value.
    """

    def with_arguments(*channels: Any) -> None:
        given = dict(zip(Parameters.model_fields, channels, strict=True))
        dag(Parameters.model_construct(None, **given))

    declared = Parameters.model_fields.items()
    with_arguments.__name__ = dag.__name__
    with_arguments.__doc__ = "\n".join(
        [inspect.getdoc(dag) or "", "", "Args:"]
        + [f"    {name}: {field.description}" for name, field in declared]
    )
    with_arguments.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(
                name,
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
                default=field.default,
                annotation=field.annotation,
            )
            for name, field in declared
        ]
    )
    return with_arguments


def fields(given: Parameters, *names: str) -> dict[str, Any]:
    """Some of the parameters, by their names, as arguments of a step."""
    return {name: getattr(given, name) for name in names}
