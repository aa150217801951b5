"""The trials of the method `smallest`. Runs in the export environment, which has other versions of
the libraries.
"""

import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

from greenlight.core.records import Evaluation, Trial
from greenlight.evaluate.evaluation import score, summarize, write_documents
from greenlight.evaluate.reference import OpenReference, open_reference
from greenlight.evaluate.scorers import OpenVINOScorer
from greenlight.gate.judge import judge_quality
from greenlight.gate.objectives import Gate
from greenlight.gate.quality_limits import parse_quality_limits
from greenlight.quantize.reload_check import save_predictions
from greenlight.quantize.search import FULL_FOLDER, PATH_FILE, REFERENCE_FOLDER, Scheme, search

MODEL = "openvino_model"


def work(scratch: str, output: str, limits: str) -> None:
    """Compress the export in full precision again and again, and leave the smallest that keeps the
    limits in `output`.
    """
    full = Path(scratch) / FULL_FOLDER
    trials = Trials(Path(scratch), full, Path(output), parse_quality_limits(limits))
    path = search(trials.attempt)
    (Path(scratch) / PATH_FILE).write_text(json.dumps([each.model_dump() for each in path]))
    for file in full.iterdir():
        if file.stem != MODEL:
            shutil.move(file, Path(output) / file.name)


class Trials:
    """One search: the model in full precision, what the baseline predicts, and the best so far."""

    def __init__(self, scratch: Path, full: Path, output: Path, gate: Gate) -> None:
        self._scratch, self._full, self._output, self._gate = scratch, full, output, gate
        self._reference: OpenReference = open_reference(scratch / REFERENCE_FOLDER)
        self._best = float("inf")

    def attempt(self, scheme: Scheme) -> Trial:
        """Compress, and score where it is the smallest so far. One that passes is saved as the
        output, and the reload check will compare with it.
        """
        import openvino

        model = compress(openvino.Core().read_model(self._full / f"{MODEL}.xml"), scheme)
        trial = self._scratch / "trial"
        trial.mkdir(exist_ok=True)
        openvino.save_model(model, trial / f"{MODEL}.xml", compress_to_fp16=False)
        size = sum(file.stat().st_size for file in trial.iterdir())
        known = {
            "scheme": str(scheme),
            "group_size": scheme.group_size,
            "ratio": scheme.ratio,
            "bytes": size,
        }
        if size >= self._best:
            return Trial(
                **known,
                passed=False,
                too_large=True,
                reason="larger than one that keeps the limits",
            )
        scorer = OpenVINOScorer(model, len(os.sched_getaffinity(0)))
        evaluation = self._evaluate(scorer)
        judged = judge_quality(self._scratch / "evaluation", self._gate)
        broken = next((each for each in judged if each.status != "pass"), None)
        if broken is None:
            self._best = size
            save_predictions(scorer.logits, self._scratch)
            for file in trial.iterdir():
                shutil.move(file, self._output / file.name)
        metrics = {each.metric: evaluation.metrics[each.metric] for each in self._gate.objectives}
        return Trial(
            **known,
            metrics=metrics,
            passed=broken is None,
            reason=broken.reason if broken else "keeps the limits",
        )

    def _evaluate(self, scorer: OpenVINOScorer) -> Evaluation:
        folder, scored = self._scratch / "evaluation", score(scorer, self._reference)
        write_documents(scored, folder)
        tokens = sum(each.sums.tokens for each in scored)
        baseline = self._reference.record.baseline_digest
        record = Evaluation(
            baseline_digest=baseline,
            candidate_digest="",
            documents=len(scored),
            tokens=tokens,
            metrics=summarize(scored),
        )
        record.save(folder)
        return record


def compress(model: Any, scheme: Scheme) -> Any:
    """An OpenVINO model with its weights in 4 and 8 bits, embeddings and output layer among them.

    NNCF ranks the layers by the error that 8 bits make in their weights, and gives 4 bits to those
    that suffer least. Its metrics on activations did worse on the built-in model:
    docs/quantization.md.
    """
    import nncf
    from nncf.quantization.advanced_parameters import (
        AdvancedCompressionParameters,
        GroupSizeFallbackMode,
    )

    nncf.set_log_level(logging.ERROR)
    if not scheme.ratio:
        return nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM)
    return nncf.compress_weights(
        model,
        mode=nncf.CompressWeightsMode.INT4_SYM,
        ratio=scheme.ratio,
        group_size=scheme.group_size,
        all_layers=True,
        backup_mode=nncf.BackupMode.INT8_SYM,
        advanced_parameters=AdvancedCompressionParameters(
            group_size_fallback_mode=GroupSizeFallbackMode.ADJUST
        ),
    )
