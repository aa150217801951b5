"""The export to OpenVINO, and what the model holds before it is saved. Runs in the export
environment, which has other versions of the libraries.
"""

import functools
import sys
from pathlib import Path
from typing import Any

from greenlight.models.model_class import load_checked
from greenlight.quantize.openvino_graph import save_graph

COMPRESSED = ["nncf", "weight_compression"]
"""NNCF leaves a note here in a model whose weights it has compressed."""


def work(scratch: str, *arguments: str) -> None:
    """Run optimum-cli with these arguments.

    It exports the model, reads it again, compresses that in memory and saves it. So the saving is
    where what the compressed model holds is kept.
    """
    import openvino

    _check_loads()
    save = openvino.save_model

    def save_model(model: Any, *given: Any, **named: Any) -> None:
        if model.has_rt_info(COMPRESSED):
            save_graph(model, Path(scratch))
        save(model, *given, **named)

    openvino.save_model = save_model
    sys.argv = ["optimum-cli", *arguments]
    from optimum.commands.optimum_cli import (
        main,  # imported now: its modules take save_model from openvino by name
    )

    main()


def _check_loads() -> None:
    """transformers, which optimum-cli loads the model with, fills missing weights with random ones,
    and says so only in what it prints.
    """
    from transformers import PreTrainedModel

    load = PreTrainedModel.from_pretrained.__func__

    def from_pretrained(kind: Any, *arguments: Any, **options: Any) -> Any:
        return load_checked(functools.partial(load, kind), *arguments, **options)

    PreTrainedModel.from_pretrained = classmethod(from_pretrained)
