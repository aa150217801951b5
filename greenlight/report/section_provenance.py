"""The section on provenance: what was judged, by what, and what it takes to repeat it."""

import platform
from collections.abc import Iterator
from importlib import metadata

from greenlight.core import formats
from greenlight.core.history import RunRecords
from greenlight.core.records import Model, Release
from greenlight.report.headline import method_text
from greenlight.report.page_parts import Group


def provenance_of(run: RunRecords) -> Iterator[Group]:
    """Everything needed to say what was judged, by what, and to do it again."""
    facts = [("Run", run.run_id)]
    if run.time:
        facts.append(("Began", f"{run.time:%Y-%m-%d %H:%M:%S} UTC"))
    if run.resolution:
        found = run.resolution
        facts += [
            (
                "Source",
                (
                    f"{found.source}, of which {found.checkpoint}"
                    if found.checkpoint
                    else found.source
                ),
            ),
            ("Source commit", found.commit),
            ("Fingerprint", found.fingerprint),
            ("Resolved as", f"{found.verdict}: {found.reason}"),
        ]
    if run.decision:
        facts += [
            ("Decided", f"{run.decision.decided_at:%Y-%m-%d %H:%M:%S} UTC"),
            ("Gate", run.decision.gate_name),
            ("Gate digest", run.decision.gate_digest),
        ]
        facts += [
            ("Evaluation digest", run.decision.evaluation_digest),
            ("Benchmark digest", run.decision.benchmark_digest),
        ]
        facts += [("Code version", run.decision.code_version or formats.MISSING)]
    yield Group("Run", facts)
    if deployment := run.deployment or (run.decision.deployment if run.decision else None):
        for title, release in (
            ("Candidate", deployment.candidate),
            ("Live release it was measured against", deployment.live),
        ):
            yield Group(title, _release_facts(release))
    for title, model in (
        ("Baseline artifact", run.baseline),
        ("Candidate artifact", run.candidate),
    ):
        if model is not None:
            yield Group(title, _model_facts(model))
    if run.benchmark is not None:
        benchmark = run.benchmark
        facts = [
            ("Seed", str(benchmark.seed)),
            (
                "Output tokens per request",
                f"{benchmark.max_tokens} in pairs, {benchmark.block_tokens} in throughput windows",
            ),
            ("Samples", benchmark.samples_uri or formats.MISSING),
        ]
        yield Group(
            "Benchmark",
            [
                *facts,
                ("requests.parquet", benchmark.requests_digest or formats.MISSING),
                ("blocks.parquet", benchmark.blocks_digest or formats.MISSING),
            ],
        )
    if run.parameters:
        yield Group("Parameters", [(name, str(value)) for name, value in run.parameters.items()])
    yield Group(
        "Report",
        [
            (
                "Written by",
                (
                    f"greenlight {_version('greenlight-llm')}, plotly {_version('plotly')}, Python"
                    f" {platform.python_version()}"
                ),
            )
        ],
    )


def _release_facts(release: Release) -> list[tuple[str, str]]:
    return [
        ("Release", f"{release.release_id} on {release.color}"),
        ("Model", f"{release.source}, {method_text(release.method, release.bits)}"),
        ("Commit", release.commit),
        ("Content digest", release.digest),
        (
            "Engine",
            f"{release.engine}, {release.replicas} replica{'s' if release.replicas != 1 else ''}",
        ),
        (
            "Deployed",
            f"{release.deployed_at:%Y-%m-%d %H:%M:%S} UTC"
            + (f" by run {release.run_id}" if release.run_id else ""),
        ),
        ("Model artifact", release.model_uri),
    ]


def _model_facts(model: Model) -> list[tuple[str, str]]:
    facts = [
        *([("Made", model.made)] if model.made else []),
        ("Format", model.format),
        ("Files", f"{len(model.files)}, {model.bytes:,} bytes"),
        ("Content digest", model.digest),
    ]
    if model.libraries:
        facts.append(
            (
                "Made with",
                ", ".join(f"{name} {version}" for name, version in sorted(model.libraries.items())),
            )
        )
    return facts


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:  # run from a source tree that was not installed
        return "(not installed)"
