"""Runs as the steps leave them in a history, made of real records: one class, a method for what
each step adds.
"""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from greenlight.benchmark.samples import (
    BLOCKS,
    REQUESTS,
    CountedBlock,
    Request,
    write_parquet,
)
from greenlight.benchmark.workload import Slo, Workload
from greenlight.core.files import file_digest
from greenlight.core.records import (
    BenchmarkResult,
    Contender,
    Decision,
    Deployment,
    Evaluation,
    FileEntry,
    GeneratorHealth,
    Look,
    Metric,
    Model,
    ObjectiveResult,
    PlannedCandidate,
    Promotion,
    Record,
    Reference,
    Release,
    Resolution,
    Selection,
    Speed,
)
from tests.report.made_samples import measured, passing, summarize, trials

START = datetime(2026, 11, 23, 19, 20, 1, tzinfo=UTC)
DIGEST, LIVE_DIGEST = "c4" * 32, "b1" * 32


@dataclass
class RunFactory:
    """A run in the making. Every method writes what one step leaves, and returns the factory."""

    history: Path
    run_id: str = "20261123-192001-4f2a"
    began: datetime = START
    source: str = "builtin:tiny"
    service: str = "llm-inference"
    method: str = "optimum"
    bits: int = 8
    pairs: int = 100
    objectives: list[ObjectiveResult] = field(default_factory=passing)

    @property
    def folder(self) -> Path:
        return self.history / self.run_id

    @property
    def builds(self) -> tuple[Path, Path]:
        source = self.history / "builds" / f"abc123-{self.run_id}"
        return source, source / f"{self.method}-{self.bits}"

    def write(self, name: str, record: Record, folder: Path | None = None) -> "RunFactory":
        path = (folder or self.folder) / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(record.model_dump_json(indent=2))
        return self

    def broken(self, name: str, text: str = '{"schema_version": 1, "comm') -> "RunFactory":
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / f"{name}.json").write_text(text)
        return self

    def failed(
        self,
        step: str,
        message: str = "it did not come up. Read its log.",
        error: str = "DeployError",
    ) -> "RunFactory":
        folder = {
            "download": self.builds[0],
            "quantize": self.builds[1],
            "evaluate": self.builds[1],
        }.get(step, self.folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{step}.error.json").write_text(
            json.dumps({"step": step, "error": error, "message": message})
        )
        return self

    def release(self, role: str) -> Release:
        candidate = role == "candidate"
        return Release(
            release_id=f"rel-{self.run_id[-4:]}" if candidate else "rel-0000",
            color="green" if candidate else "blue",
            service=self.service,
            model_uri=f"{self.history}/artifacts/{role}",
            digest=DIGEST if candidate else LIVE_DIGEST,
            source=self.source,
            commit="abc123" * 6,
            method=self.method if candidate else "none",
            bits=self.bits if candidate else 32,
            engine="openvino" if candidate else "transformers",
            run_id=self.run_id if candidate else "",
            deployed_at=self.began + timedelta(seconds=40),
        )

    @property
    def deployment(self) -> Deployment:
        return Deployment(candidate=self.release("candidate"), live=self.release("live"))

    def resolve(self, verdict: str = "new") -> "RunFactory":
        source, candidate = (str(build.relative_to(self.history)) for build in self.builds)
        found = Resolution(
            verdict=verdict,  # type: ignore[arg-type]
            reason=(
                "nothing is live yet"
                if verdict == "new"
                else "live is rel-0000: same source commit, same settings, same code"
            ),
            source=self.source,
            commit="abc123" * 6,
            fingerprint="f1" * 32,
            source_build=source,
            reference_build=f"{source}/text-7e",
            candidates=[PlannedCandidate(method=self.method, bits=self.bits, build=candidate)],
            live_release_id="" if verdict == "new" else "rel-0000",
            resolved_at=self.began,
        )
        self.write("resolve", found)
        (self.folder / "parameters.json").write_text(
            json.dumps(
                {
                    "model": self.source,
                    "method": self.method,
                    "bits": self.bits,
                    "service": self.service,
                }
            )
        )
        return self

    def model(self, role: str) -> Model:
        baseline = role == "baseline"
        size = 16_800_000 if baseline else 4_300_000
        return Model(
            role=role,  # type: ignore[arg-type]
            source=self.source,
            commit="abc123" * 6,
            format="safetensors" if baseline else "openvino",
            method="none" if baseline else self.method,
            bits=32 if baseline else self.bits,
            digest=LIVE_DIGEST if baseline else DIGEST,
            files={"config.json": FileEntry(size=size, sha256="00" * 32)},
            bytes=size,
            seconds=0.4 if baseline else 18.7,
            peak_memory_bytes=0 if baseline else 1_340_000_000,
            libraries={} if baseline else {"optimum-intel": "2.2.0", "openvino": "2026.4.1"},
            search=[] if baseline or self.method != "smallest" else trials(),
        )

    def download(self) -> "RunFactory":
        return self.write("download", self.model("baseline"), self.builds[0])

    def reference(self) -> "RunFactory":
        record = Reference(
            baseline_digest=LIVE_DIGEST,
            text_digest="7e" * 32,
            documents=68,
            tokens=8904,
            vocabulary=2048,
            window=512,
            opening=[0],
            start=0,
            bytes=8904 * 2048 * 2,
            seconds=6.1,
            peak_memory_bytes=620_000_000,
        )
        return self.write("reference", record, self.builds[0] / "text-7e")

    def quantize(self) -> "RunFactory":
        return self.write("quantize", self.model("candidate"), self.builds[1])

    def evaluate(self) -> "RunFactory":
        metrics = {
            "perplexity": Metric(value=46.71, low=44.2, high=49.3),
            "baseline_perplexity": Metric(value=46.70, low=44.1, high=49.2),
            "perplexity_ratio": Metric(value=1.0004, low=0.9988, high=1.0021),
            "bits_per_byte": Metric(value=1.93, low=1.9, high=1.96),
            "kl_mean": Metric(value=0.0031, low=0.0027, high=0.0036),
            "top1_agreement": Metric(value=0.978, low=0.974, high=0.981),
        }
        record = Evaluation(
            baseline_digest=LIVE_DIGEST,
            candidate_digest=DIGEST,
            documents=61,
            tokens=12_840,
            metrics=metrics,
            seconds=9.2,
        )
        return self.write("evaluate", record, self.builds[1])

    def select(self) -> "RunFactory":
        name = f"{self.method}:{self.bits}"
        only = Contender(name=name, status="chosen", reason="the only candidate", bytes=4_300_000)
        return self.write(
            "select",
            Selection(chosen=name, index=0, digest=DIGEST, reason=only.reason, contenders=[only]),
        )

    def sweep(self) -> "RunFactory":
        """Four candidates: one was chosen, one passed, one was refused, one failed."""

        def one(
            name: str, status: str, kl: float, rate: float, reason: str = "", on_front: bool = False
        ) -> Contender:
            speed = Speed(
                engine="openvino",
                tokens_per_second=rate,
                concurrency=8,
                load_seconds=1.0,
                memory_bytes=171_000_000,
            )
            metric = Metric(value=kl, low=kl * 0.9, high=kl * 1.1)
            return Contender(
                name=name,
                status=status,
                reason=reason,
                on_front=on_front,
                kl=metric,
                bytes=4_300_000,
                speed=speed,
            )  # type: ignore[arg-type]

        why = (
            "it keeps the quality objectives of gate default; the gate prefers speed: 2,400"
            " tokens/s"
        )
        contenders = [
            one("optimum:8", "chosen", 0.0031, 2400, why, on_front=True),
            one("optimum:4", "refused", 0.09, 2500, "mean KL divergence is 0.09 nats"),
            one(
                "bnb:8", "passed", 0.0002, 120, "passed, but the gate prefers speed", on_front=True
            ),
            Contender(name="gptq:4", status="failed", reason="quantize: llm-compressor was killed"),
        ]
        return self.write(
            "select",
            Selection(
                chosen="optimum:8",
                index=0,
                digest=DIGEST,
                prefer="speed",
                reason=why,
                contenders=contenders,
            ),
        )

    def deploy_green(self) -> "RunFactory":
        return self.write("deploy_green", self.deployment)

    def benchmark(
        self, samples: bool = True, errors: int = 0, complete: bool = True
    ) -> "RunFactory":
        folder = self.history / "artifacts" / self.run_id
        requests, blocks = measured(
            self.pairs, errors, tokens=24, began=self.began.timestamp() + 42
        )
        if samples:
            folder.mkdir(parents=True, exist_ok=True)
            write_parquet(folder / REQUESTS, Request, requests)
            write_parquet(folder / BLOCKS, CountedBlock, blocks)
        record = BenchmarkResult(
            complete=complete,
            reason="" if complete else "the time limit of 60 s was over",
            candidate=summarize("candidate", requests, blocks),
            live=summarize("live", requests, blocks),
            pairs=self.pairs,
            concurrency=8,
            max_tokens=24,
            block_tokens=128,
            seed=1,
            seconds=31.5,
            workload=Workload(
                name="chat", arrivals="poisson", rate=4, slo=Slo(ttft=0.5)
            ).model_dump_json(exclude_none=True),
            generator=GeneratorHealth(asked_rate=4, achieved_rate=3.98, send_lag_p99=0.0021),
            samples_uri=str(folder) if samples else "",
            requests_digest=file_digest(folder / REQUESTS) if samples else "",
            blocks_digest=file_digest(folder / BLOCKS) if samples else "",
        )
        return self.write("benchmark", record)

    def gate(self, verdict: str = "promote", action: str = "", looks: int = 1) -> "RunFactory":
        """With more looks the last one but one decides, and the bounds close in from half as far
        again.
        """
        seen = (
            [Look(pairs=self.pairs, fraction=1.0, passed=0, failed=0, verdict=verdict)]
            if looks == 1
            else []
        )  # type: ignore[arg-type]
        for look in range(1, looks):
            bounds = [
                None if one.bound is None else one.bound * (1 + 0.5 * (looks - 1 - look) / looks)
                for one in self.objectives
            ]
            said = verdict if look == looks - 1 else "inconclusive"
            seen.append(
                Look(
                    pairs=self.pairs * look // looks,
                    fraction=look / looks,
                    passed=0,
                    failed=0,
                    verdict=said,
                    bounds=bounds,
                )
            )  # type: ignore[arg-type]
        record = Decision(
            verdict=verdict,  # type: ignore[arg-type]
            action=action or ("promote" if verdict == "promote" else "retire"),  # type: ignore[arg-type]
            reason=(
                f"all {len(self.objectives)} objectives pass"
                if verdict == "promote"
                else "p50 of TTFT vs live is too high (1 of 9 objectives)"
            ),
            objectives=self.objectives,
            looks=seen,
            planned_pairs=self.pairs,
            deployment=self.deployment,
            gate_name="default",
            gate_digest="9a" * 32,
            evaluation_digest="e0" * 32,
            benchmark_digest="be" * 32,
            code_version="0123456789ab",
            decided_at=self.began + timedelta(seconds=60),
        )
        return self.write("gate", record)

    def moved(self, outcome: str = "promoted", **changes: object) -> "RunFactory":
        back = outcome in ("retired", "rolled_back")
        record = Promotion(
            outcome=outcome,  # type: ignore[arg-type]
            live=self.release("live" if back else "candidate"),
            previous=None if back else self.release("live"),
            switched_at=None if outcome == "retired" else self.began + timedelta(seconds=62),
            **changes,  # type: ignore[arg-type]
        )
        return self.write("retire" if outcome == "retired" else "promote", record)

    def through(self, last: str) -> "RunFactory":
        """Everything from resolve to the step named."""
        for step in (
            "resolve",
            "download",
            "reference",
            "quantize",
            "evaluate",
            "select",
            "deploy_green",
            "benchmark",
            "gate",
        ):
            getattr(self, step)()
            if step == last:
                break
        return self
