"""`make bench-serving-scale`: how our OpenVINO server scales with requests at a time and with the
length of the prompt.

Requests at a time go from 1 to 256; prompts go up to the model's context less the 64 new tokens, 8
at a time. The server runs with its defaults. Writes docs/serving-scale.json with the numbers and
docs/serving-scale.svg, which plots tokens/s and the 95th percentile of the time between two tokens
(ITL).
"""

import json
import os
import random
from dataclasses import asdict
from typing import Annotated, Any

import typer

from benchmarks.serving import client
from benchmarks.serving.__main__ import run
from benchmarks.serving.client import Job, Load
from benchmarks.serving.contenders import CONTENDERS, NEW_TOKENS, ours
from benchmarks.serving.model import ROOT, TINY, openvino_model, prompts
from benchmarks.serving.rounds import WARMUP_SECONDS, progress
from greenlight.serving.artifact import Artifact
from greenlight.serving.detokenizer import Vocabulary

DATA = ROOT / "docs/serving-scale.json"
PLOT = DATA.with_suffix(".svg")
CONCURRENCIES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
PROMPT_LENGTHS = (16, 32, 64, 128, 256, 512)  # and all of the context
PROMPTS_AT_A_TIME = 8

Point = dict[str, Any]


def main(
    seconds: Annotated[float, typer.Option(min=0.5, help="Length of one measurement.")] = 4.0,
) -> None:
    """Measure, and write the data and the plot."""
    server = ours(str(openvino_model()), "openvino").start_and_wait()
    try:
        by_concurrency = [
            {"concurrency": number, **_measure(_job(server.port, number, seconds))}
            for number in CONCURRENCIES
        ]
        lengths = (*PROMPT_LENGTHS, Artifact.open(str(TINY)).context - NEW_TOKENS)
        by_length = [
            {"prompt_tokens": length, **_measure(_long_job(server.port, length, seconds))}
            for length in lengths
        ]
    finally:
        server.stop()
    data = {
        "cores": len(os.sched_getaffinity(0)),
        "new_tokens": NEW_TOKENS,
        "concurrency": by_concurrency,
        "prompt_length": by_length,
    }
    DATA.write_text(json.dumps(data, indent=1) + "\n")
    plot(data)
    progress.print(f"wrote {DATA.relative_to(ROOT)} and {PLOT.relative_to(ROOT)}")


def _job(port: int, concurrency: int, seconds: float) -> Job:
    return CONTENDERS["openvino"].job(port, concurrency, WARMUP_SECONDS, seconds)


def _long_job(port: int, length: int, seconds: float) -> Job:
    """Prompts of exactly so many tokens, cut from the built-in ones at random places, so that no
    two begin alike.
    """
    text = Vocabulary(TINY, 0).encode("\n".join(prompts()))
    draw = random.Random(length)
    starts = [draw.randrange(len(text) - length) for _ in range(64)]
    more = {
        "max_tokens": NEW_TOKENS,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    bodies = [json.dumps({"prompt": text[start : start + length], **more}) for start in starts]
    return Job(
        port,
        "/v1/completions",
        bodies,
        NEW_TOKENS,
        True,
        True,
        PROMPTS_AT_A_TIME,
        WARMUP_SECONDS,
        seconds,
    )


def _measure(job: Job) -> dict[str, float]:
    load: Load = client.drive(job)
    progress.print(
        f"{job.concurrency:3} at a time  {load.tokens_per_second:8.0f} tokens/s  TTFT"
        f" {load.ttft_p50:7.1f} ms  ITL p95 {load.itl_p95:6.1f} ms"
    )
    return {name: round(value, 3) for name, value in asdict(load).items()}


def plot(data: dict[str, Any]) -> None:
    import matplotlib  # type: ignore[import-not-found]

    matplotlib.use("svg")
    matplotlib.rcParams.update(
        {
            "svg.hashsalt": "greenlight",
            "svg.fonttype": "none",
            "font.size": 9,
            "axes.grid": True,
            "grid.alpha": 0.3,
        }
    )
    from matplotlib import pyplot  # type: ignore[import-not-found]

    figure, axes = pyplot.subplots(2, 2, figsize=(9, 6), sharex="col", layout="constrained")
    for row, (field, label) in enumerate(
        (("tokens_per_second", "tokens/s"), ("itl_p95", "ITL p95, ms"))
    ):
        for axis, key, color in (
            (axes[row][0], "concurrency", "tab:blue"),
            (axes[row][1], "prompt_length", "tab:green"),
        ):
            x = "prompt_tokens" if key == "prompt_length" else key
            axis.plot(
                [point[x] for point in data[key]],
                [point[field] for point in data[key]],
                "o-",
                color=color,
            )
            axis.set_xscale("log", base=2)
            axis.xaxis.set_major_formatter("{x:.0f}")
            axis.set_ylim(bottom=0)
        axes[row][0].set_ylabel(label)
    axes[1][0].set_xlabel("requests at a time")
    axes[1][1].set_xlabel(f"tokens of the prompt, {PROMPTS_AT_A_TIME} at a time")
    figure.suptitle(
        f"OpenVINO server, built-in model, {data['new_tokens']} new tokens per request,"
        f" {data['cores']} cores shared with the client"
    )
    figure.savefig(PLOT, metadata={"Date": None})


if __name__ == "__main__":
    run(main)
