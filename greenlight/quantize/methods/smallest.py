"""The smallest artifact that keeps the gate's limits on quality: OpenVINO, layers in 4 or 8 bits as
they bear it, found by measuring.

What is measured is what evaluation measures, judged as the gate judges it, but on calibration text:
the held-out text must not choose what it judges.
"""

import json
from pathlib import Path

from greenlight.core.child_process import run_module
from greenlight.core.errors import GreenlightError, InputError
from greenlight.core.records import Trial
from greenlight.quantize.calibration_text import cut_texts
from greenlight.quantize.methods.base import Job
from greenlight.quantize.openvino import EXPORT, OpenVINO
from greenlight.quantize.search import FULL_FOLDER, PATH_FILE, REFERENCE_FOLDER

DOCUMENTS = 64
TOKENS = 128
"""Maximum number of tokens per document, 8,192 in all. Each trial reads them. The baseline's
predictions for them are kept: 2 GB for a vocabulary of 128,000.
"""
TEXTS_FILE = "texts.jsonl"


class Smallest(OpenVINO):
    name = "smallest"
    bits = ()
    stored_bits = 4
    # the export in 32 bits, the best so far and the next try; and what the baseline predicts
    disk = 6.0
    calibrates = True
    searches = True

    def quantize(self, job: Job) -> int:
        from greenlight.gate.evidence import MIN_DOCUMENTS

        found = cut_texts(job.calibration, job.model, DOCUMENTS, TOKENS)
        if len(found) < MIN_DOCUMENTS:
            raise InputError(
                "calibration",
                job.calibration.data,
                f"gives {len(found)} documents; method smallest needs {MIN_DOCUMENTS} or more to"
                " measure on",
            )
        (job.scratch / TEXTS_FILE).write_text(
            "".join(json.dumps({"text": text}) + "\n" for text in found)
        )
        peak_memory = run_module(
            __name__, [str(job.model), str(job.scratch)], job.scratch, "the baseline"
        )
        exporting = [
            *EXPORT,
            "--model",
            str(self.source(job)),
            "--weight-format",
            "fp32",
            str(job.scratch / FULL_FOLDER),
        ]
        peak_memory = max(
            peak_memory, self.run("greenlight.quantize.openvino_export", exporting, job)
        )
        peak_memory = max(
            peak_memory,
            self.run("greenlight.quantize.openvino_search", [str(job.output), job.limits], job),
        )
        if not any(trial.passed for trial in self.list_trials(job)):
            raise GreenlightError(
                f"No mix of 4 and 8 bits keeps the limits ({job.limits}). Of everything in 8 bits,"
                f" {self.list_trials(job)[-1].reason}"
            )
        return peak_memory

    def list_trials(self, job: Job) -> list[Trial]:
        return [
            Trial.model_validate(each)
            for each in json.loads((job.scratch / PATH_FILE).read_bytes())
        ]


def work(model: str, scratch: str) -> None:
    """Runs in a process of its own: what the baseline predicts for the texts."""
    from greenlight.evaluate.reference import make_reference

    folder = Path(scratch) / REFERENCE_FOLDER
    make_reference(model, folder, text=str(Path(scratch) / TEXTS_FILE)).save(folder)


method = Smallest()
