"""Whether the checkpoint that was saved is the model that was quantized: its predictions, in memory
and then reloaded in a fresh process, are compared. Of an OpenVINO graph that was not computed with,
the constants are, which is exact.

A library may write other tensors than it computed with: scales of another shape, layers under
another's name, a shard that a full disk cut short. Evaluation would see most of that as a bad
candidate; here it is seen as what it is, before anything else is done with it.
"""

import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from greenlight.core.child_process import run_module
from greenlight.core.errors import GreenlightError, IntegrityError
from greenlight.core.records import MODEL_FOLDER
from greenlight.evaluate.text_files import BUILTIN, load_text
from greenlight.models.integrity import verify_model
from greenlight.models.tokenizer import load_tokenizer
from greenlight.quantize.openvino_graph import GRAPH_FILE, compare_graph

if TYPE_CHECKING:
    import torch

# In the scratch folder.
PROBE_FILE = "probe.json"
PREDICTIONS_FILE = "quantized.npz"
DIFFERENCE_FILE = "difference.json"

TEXTS = 4
TOKENS = 32
"""Few, because the predictions for all of them are kept: with 128,000 words 16 MB. Damage to one
layer moves those of every token. In one piece, because a model that lies on disk is read for
each.
"""


@dataclass(frozen=True)
class Difference:
    """From the model in memory to the one reloaded, over the tokens of the probe. In nats.

    Attributes:
        kl_mean, kl_max: Kullback-Leibler divergence of the next-token distributions. Infinite where
            a prediction is not finite.
        problem: why it could not be computed; empty where it could.
    """

    kl_mean: float
    kl_max: float
    problem: str = ""


def write_probe(model: Path, scratch: Path) -> None:
    """The first tokens of built-in text, as the model reads them."""
    tokenizer = load_tokenizer(model)
    tokenizer.enable_truncation(TOKENS)
    (scratch / PROBE_FILE).write_text(
        json.dumps(tokenizer.encode("\n".join(load_text(BUILTIN)[:TEXTS])).ids)
    )


def save_predictions(
    logits: Callable[[list[int]], "torch.Tensor"], scratch: Path, dtype: str = ""
) -> None:
    """Keep what the quantized model in memory predicts on the probe. Called by a method in its own
    process, before or after it saves.

    Args:
        logits: next-token logits after each of the ids, of shape (tokens, vocabulary).
        dtype: torch's name of the type it computes in, where that is not the one that the saved
            checkpoint is computed in by default. It is reloaded in
            the same, so that only what was saved can differ, and not how it is computed.

    Raises:
        IntegrityError: a prediction is not finite.
    """
    import numpy as np

    predicted = _predictions(logits, scratch)
    if not predicted.isfinite().all():
        raise IntegrityError(
            "The quantized model predicts what is not finite, before it was saved. Use another"
            " method, more bits or other calibration data."
        )
    np.savez(scratch / PREDICTIONS_FILE, predicted=predicted.numpy(), dtype=dtype)


def check_reload(
    artifact: Path, scratch: Path, tolerance: float, library: str
) -> tuple[Difference, int]:
    """Reload an artifact in a fresh process, and compare it with what was kept.

    Args:
        tolerance: mean Kullback-Leibler divergence, in nats, that rounding explains.
        library: that saved it, for people.

    Returns:
        The difference, and the peak memory of the process in bytes.

    Raises:
        IntegrityError: it cannot be loaded, or predicts something else.
    """
    if not any((scratch / name).is_file() for name in (PREDICTIONS_FILE, GRAPH_FILE)):
        raise GreenlightError(
            f"{library} did not say what the quantized model predicts, so nothing can be compared"
            " with what it saved. Report this as a bug."
        )
    peak_memory = run_module(__name__, [str(artifact), str(scratch)], scratch, "the reload check")
    difference = Difference(**json.loads((scratch / DIFFERENCE_FILE).read_bytes()))
    if difference.problem:
        raise IntegrityError(f"What {library} saved cannot be used: {difference.problem}")
    if not difference.kl_mean <= tolerance:
        raise IntegrityError(
            f"What {library} saved is not what it quantized: reloaded, it predicts something else"
            f" (KL {difference.kl_mean:.3g} nats, where rounding makes {tolerance:g} at most)."
            " Nothing was kept. Run it again; when that does not help, take another method, or"
            f" another version of {library}."
        )
    return difference, peak_memory


def work(artifact: str, scratch: str) -> None:
    """Runs in a process of its own."""
    (Path(scratch) / DIFFERENCE_FILE).write_text(
        json.dumps(asdict(compare(Path(artifact), Path(scratch))))
    )


def compare(artifact: Path, scratch: Path) -> Difference:
    """Load the artifact as evaluation and serving do, in the precision of what was kept, and
    compare its predictions with those; or read the graph, where that is what was kept.
    """
    if (scratch / GRAPH_FILE).is_file():
        return _compare_graph(artifact, scratch)
    import numpy as np
    import torch

    from greenlight.evaluate.scorers import load_scorer, silence
    from greenlight.models.checkpoint import open_checkpoint

    with np.load(scratch / PREDICTIONS_FILE) as arrays:
        kept, dtype = torch.from_numpy(arrays["predicted"]), str(arrays["dtype"])
    try:
        with silence():
            scorer = load_scorer(
                open_checkpoint("candidate", artifact),
                len(os.sched_getaffinity(0)),
                dtype,
                scratch / "unpacked",
            )
            predicted = _predictions(scorer.logits, scratch)
    except GreenlightError as error:
        return Difference(math.inf, math.inf, str(error))
    if predicted.shape != kept.shape:
        return Difference(
            math.inf,
            math.inf,
            f"it predicts {predicted.shape[1]} words, and the model in memory {kept.shape[1]}",
        )
    if not predicted.isfinite().all():
        return Difference(
            math.inf, math.inf, "its predictions are not finite (NaN or infinity in its weights)"
        )
    kl = (kept.exp() * (kept - predicted)).sum(-1).clamp(min=0)  # rounding can leave it below
    return Difference(float(kl.mean()), float(kl.max()))


def _compare_graph(artifact: Path, scratch: Path) -> Difference:
    try:
        verify_model(artifact)
    except GreenlightError as error:
        return Difference(math.inf, math.inf, str(error))
    problem = compare_graph(artifact / MODEL_FOLDER / "openvino_model.xml", scratch)
    return Difference(math.inf, math.inf, problem) if problem else Difference(0.0, 0.0)


def _predictions(logits: Callable[[list[int]], "torch.Tensor"], scratch: Path) -> "torch.Tensor":
    """Log-probabilities in 32 bits, of shape (tokens of the probe, vocabulary)."""
    import torch

    with torch.inference_mode():
        return (
            logits(json.loads((scratch / PROBE_FILE).read_bytes()))
            .float()
            .log_softmax(-1)
            .cpu()
            .clone()
        )
