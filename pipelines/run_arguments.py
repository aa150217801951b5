"""The keyword arguments of `greenlight.run`, for editors and type checkers. Their defaults, help
and checks are those of `Parameters`; a test compares the two.
"""

from collections.abc import Mapping
from typing import Any, TypedDict

from pydantic import ValidationError

from greenlight.core.errors import InputError
from greenlight.core.yaml_file import nearest
from greenlight.resolve.parameters import Parameters


class RunArguments(TypedDict, total=False):
    model: str
    revision: str
    from_gguf: str
    method: str
    bits: int
    methods: str
    calibration: str
    calibration_samples: int
    calibration_length: int
    gate: str
    prompts: str
    workload: str
    text: str
    tasks: str
    task_limit: int
    few_shot: int
    target: str
    service: str
    namespace: str
    replicas: int
    engine: str
    port: int
    auto_promote: bool
    force: bool
    home: str
    history: str


def checked_parameters(arguments: Mapping[str, Any]) -> Parameters:
    """The parameters with these values.

    Raises:
        InputError: there is no such parameter, or a value is of another type.
    """
    known = list(Parameters.model_fields)
    for name, value in arguments.items():
        if name not in known:
            raise InputError(name, value, f"there is no such parameter; {nearest(name, known)}")
    try:
        return Parameters(**arguments)
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0]) if first["loc"] else "parameters"
        fix = first["msg"].removeprefix("Value error, ")
        raise InputError(field, first["input"], fix) from None
