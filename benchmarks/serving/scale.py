"""`make bench-serving-scale`: how our OpenVINO server scales with requests at a time and with the length of the prompt.

Requests at a time go from 1 to 256, with room for 64 (the default of MAX_RUNNING; the others wait in the queue) and for 256. Prompts go up to the
model's context less the 64 new tokens, 8 at a time. Writes docs/serving-scale.json with the numbers and docs/serving-scale.svg, which plots tokens/s
and the 95th percentile of the time between two tokens (ITL).
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
from benchmarks.serving.process import ServerProcess
from benchmarks.serving.rounds import WARMUP_SECONDS, progress
from serving.artifact import Artifact
from serving.tokens import Vocabulary

DATA = ROOT / "docs/serving-scale.json"
PLOT = DATA.with_suffix(".svg")
CONCURRENCIES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
PLACES = (64, 256)
PROMPT_LENGTHS = (16, 32, 64, 128, 256, 512)  # and all of the context
PROMPTS_AT_A_TIME = 8

Point = dict[str, Any]


def main(seconds: Annotated[float, typer.Option(min=0.5, help="Length of one measurement.")] = 4.0) -> None:
    """Measure, and write the data and the plot."""
    by_concurrency = [point for places in PLACES for point in _by_concurrency(places, seconds)]
    data = {"cores": len(os.sched_getaffinity(0)), "new_tokens": NEW_TOKENS, "concurrency": by_concurrency, "prompt_length": _by_prompt_length(seconds)}
    DATA.write_text(json.dumps(data, indent=1) + "\n")
    plot(data)
    progress.print(f"wrote {DATA.relative_to(ROOT)} and {PLOT.relative_to(ROOT)}")


def _by_concurrency(places: int, seconds: float) -> list[Point]:
    with_room = ours(str(openvino_model()), "openvino", MAX_RUNNING=str(places))
    server = with_room.start_and_wait()
    try:
        jobs = {concurrency: CONTENDERS["openvino"].job(server.port, concurrency, WARMUP_SECONDS, seconds) for concurrency in CONCURRENCIES}
        return [{"max_running": places, "concurrency": concurrency, **_measure(job, server)} for concurrency, job in jobs.items()]
    finally:
        server.stop()


def _by_prompt_length(seconds: float) -> list[Point]:
    server = ours(str(openvino_model()), "openvino").start_and_wait()
    longest = Artifact.open(str(TINY)).context - NEW_TOKENS
    try:
        return [{"prompt_tokens": length, **_measure(_long_job(server.port, length, seconds), server)} for length in (*PROMPT_LENGTHS, longest)]
    finally:
        server.stop()


def _long_job(port: int, length: int, seconds: float) -> Job:
    """Prompts of exactly so many tokens, cut from the built-in ones at random places, so that no two begin alike."""
    text = Vocabulary(TINY, 0).encode("\n".join(prompts()))
    draw = random.Random(length)
    starts = [draw.randrange(len(text) - length) for _ in range(64)]
    more = {"max_tokens": NEW_TOKENS, "temperature": 0, "ignore_eos": True, "stream": True, "stream_options": {"include_usage": True}}
    bodies = [json.dumps({"prompt": text[start : start + length], **more}) for start in starts]
    return Job(port, "/v1/completions", bodies, NEW_TOKENS, True, True, PROMPTS_AT_A_TIME, WARMUP_SECONDS, seconds)


def _measure(job: Job, server: ServerProcess) -> dict[str, float]:
    load: Load = client.drive(job)
    progress.print(f"{job.concurrency:3} at a time  {load.tokens_per_second:8.0f} tokens/s  TTFT {load.ttft_p50:7.1f} ms  ITL p95 {load.itl_p95:6.1f} ms")
    return {name: round(value, 3) for name, value in asdict(load).items()}


def plot(data: dict[str, Any]) -> None:
    import matplotlib  # type: ignore[import-not-found]

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "greenlight", "svg.fonttype": "none", "font.size": 9, "axes.grid": True, "grid.alpha": 0.3})
    from matplotlib import pyplot  # type: ignore[import-not-found]

    figure, axes = pyplot.subplots(2, 2, figsize=(9, 6), sharex="col", layout="constrained")
    for row, (field, label) in enumerate((("tokens_per_second", "tokens/s"), ("itl_p95", "ITL p95, ms"))):
        for places in PLACES:
            points = [point for point in data["concurrency"] if point["max_running"] == places]
            axes[row][0].plot([point["concurrency"] for point in points], [point[field] for point in points], "o-", label=f"MAX_RUNNING={places}")
        points = data["prompt_length"]
        axes[row][1].plot([point["prompt_tokens"] for point in points], [point[field] for point in points], "o-", color="tab:green")
        for axis in axes[row]:
            axis.set_xscale("log", base=2)
            axis.xaxis.set_major_formatter("{x:.0f}")
            axis.set_ylim(bottom=0)
        axes[row][0].set_ylabel(label)
    axes[0][0].legend()
    axes[1][0].set_xlabel("requests at a time")
    axes[1][1].set_xlabel(f"tokens of the prompt, {PROMPTS_AT_A_TIME} at a time")
    figure.suptitle(f"OpenVINO server, built-in model, {data['new_tokens']} new tokens a request, {data['cores']} cores shared with the client")
    figure.savefig(PLOT, metadata={"Date": None})


if __name__ == "__main__":
    run(main)
