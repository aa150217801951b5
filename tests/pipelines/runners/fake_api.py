"""Fakes of two clouds' HTTP APIs: they check and record the exact requests, keep what they are
told, and misbehave on demand.
"""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

LOST = "lost"
"""The request is carried out, and its answer lost."""
DROPPED = "dropped"
"""The connection ends before the request is carried out."""


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: dict[str, str]
    body: Any
    authorization: str


@dataclass
class Answer:
    body: Any = field(default_factory=dict)
    status: int = 200


def refusal(status: int, words: str = "not now") -> Answer:
    return Answer({"error": {"code": status, "message": words}, "message": words}, status)


class FakeApi:
    """One HTTP server. `faults`: what happens to the next requests whose method and path match the
    pattern.
    """

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.faults: list[tuple[str, int | str]] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                split = urlsplit(self.path)
                query = {key: values[0] for key, values in parse_qs(split.query).items()}
                body = json.loads(raw) if raw.startswith((b"{", b"[")) else raw.decode()
                request = Request(
                    self.command, split.path, query, body, self.headers.get("Authorization", "")
                )
                fake.requests.append(request)
                fault = fake.fault(request)
                answer = refusal(fault) if isinstance(fault, int) else None
                if fault == DROPPED:
                    self.close_connection = True
                    return
                answer = answer or fake.answer(request)
                if fault == LOST:
                    self.close_connection = True
                    return
                data = (
                    answer.body.encode()
                    if isinstance(answer.body, str)
                    else json.dumps(answer.body).encode()
                )
                self.send_response(answer.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PATCH = do_DELETE = handle_any

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def fault(self, request: Request) -> int | str | None:
        for index, (pattern, fault) in enumerate(self.faults):
            if re.fullmatch(pattern, f"{request.method} {request.path}"):
                del self.faults[index]
                return fault
        return None

    def answer(self, request: Request) -> Answer:
        raise NotImplementedError

    def sent(self, method: str, pattern: str) -> list[Request]:
        return [
            request
            for request in self.requests
            if request.method == method and re.fullmatch(pattern, request.path)
        ]

    @contextmanager
    def running(self) -> Iterator["FakeApi"]:
        thread = threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        thread.start()
        try:
            yield self
        finally:
            self.server.shutdown()
            self.server.server_close()


class FakeVertex(FakeApi):
    """Vertex AI's jobs and schedules, a repository of templates, and where tokens come from."""

    PARENT = "/v1/projects/proj-1/locations/us-central1"

    def __init__(self) -> None:
        super().__init__()
        self.jobs: dict[str, dict[str, Any]] = {}
        self.schedules: dict[str, dict[str, Any]] = {}
        self.script: list[dict[str, Any]] = []
        """What the job looks like at each look; the last one stays."""
        self.tokens = 0

    def answer(self, request: Request) -> Answer:
        path = request.path.removeprefix(self.PARENT)
        if request.path == "/token":
            self.tokens += 1
            return Answer(
                {"access_token": f"token-{self.tokens}", "expires_in": 3600, "token_type": "Bearer"}
            )
        if request.path == "/pipelines/proj-1/templates":
            return Answer("promotion/sha256:0123")
        if path == "/pipelineJobs" and request.method == "POST":
            job_id = request.query["pipelineJobId"]
            if job_id in self.jobs:
                return Answer(
                    {
                        "error": {
                            "code": 409,
                            "message": f"{job_id} already exists",
                            "status": "ALREADY_EXISTS",
                        }
                    },
                    409,
                )
            self.jobs[job_id] = {
                **request.body,
                "name": f"{self.PARENT[4:]}/pipelineJobs/{job_id}",
                "state": "PIPELINE_STATE_PENDING",
            }
            return Answer(self.jobs[job_id])
        if match := re.fullmatch(r"/pipelineJobs/([^:]+)(:cancel)?", path):
            job = self.jobs.get(match[1])
            if job is None:
                return refusal(404, f"{match[1]} is not found")
            if match[2]:
                return Answer({})
            if self.script:
                job |= self.script.pop(0) if len(self.script) > 1 else self.script[0]
            return Answer(job)
        if path == "/schedules" and request.method == "POST":
            name = f"{self.PARENT[4:]}/schedules/{len(self.schedules) + 1}"
            self.schedules[name] = {
                **request.body,
                "name": name,
                "state": "ACTIVE",
                "nextRunTime": "2027-01-04T03:00:00Z",
            }
            return Answer(self.schedules[name])
        if path == "/schedules":
            name = request.query.get("filter", "").removeprefix("display_name=").strip('"')
            return Answer(
                {
                    "schedules": [
                        each
                        for each in self.schedules.values()
                        if name in ("", each["displayName"])
                    ]
                }
            )
        if match := re.fullmatch(r"/schedules/(\d+)(?::(pause|resume))?", path):
            schedule = self.schedules.get(f"{self.PARENT[4:]}/schedules/{match[1]}")
            if schedule is None:
                return refusal(404)
            if match[2]:
                schedule["state"] = {"pause": "PAUSED", "resume": "ACTIVE"}[match[2]]
                return Answer({})
            if request.method == "DELETE":
                del self.schedules[schedule["name"]]
                return Answer(
                    {
                        "name": "operations/1",
                        "done": True,
                        "response": {"@type": "type.googleapis.com/google.protobuf.Empty"},
                    }
                )
            schedule |= {key: value for key, value in request.body.items() if key != "name"}
            return Answer(schedule)
        return refusal(404, f"the fake has no {request.method} {request.path}")


class FakeKubeflow(FakeApi):
    """The API server of Kubeflow Pipelines."""

    ROOT = "/apis/v2beta1"

    def __init__(self) -> None:
        super().__init__()
        self.things: dict[str, list[dict[str, Any]]] = {
            "experiments": [],
            "pipelines": [],
            "versions": [],
            "runs": [],
            "recurringruns": [],
        }
        self.script: list[dict[str, Any]] = []

    def answer(self, request: Request) -> Answer:
        path, method = request.path.removeprefix(self.ROOT), request.method
        if path.startswith("/pipelines/upload"):
            is_version = path.endswith("_version")
            made = {
                "pipeline_id": request.query.get("pipelineid", "pipe-1"),
                "display_name": request.query["name"],
            }
            if is_version:
                made["pipeline_version_id"] = f"version-{len(self.things['versions']) + 1}"
            self.things["versions" if is_version else "pipelines"].append(made)
            return Answer(made)
        if match := re.fullmatch(r"/pipelines/pipe-1/versions/version-(\d+)", path):
            return Answer(self.things["versions"][int(match[1]) - 1])
        if path == "/pipelines/pipe-1/versions":
            return self._list("versions", "pipeline_versions", request)
        if match := re.fullmatch(r"/(experiments|pipelines|runs|recurringruns)", path):
            key = {
                "experiments": "experiment_id",
                "pipelines": "pipeline_id",
                "runs": "run_id",
                "recurringruns": "recurring_run_id",
            }[match[1]]
            if method == "GET":
                return self._list(
                    match[1], {"recurringruns": "recurringRuns"}.get(match[1], match[1]), request
                )
            made = {**request.body, key: f"{match[1]}-{len(self.things[match[1]]) + 1}"}
            if match[1] == "recurringruns":
                made["status"] = "ENABLED"
            self.things[match[1]].append(made)
            return Answer(made)
        if match := re.fullmatch(r"/(runs|recurringruns)/([^:]+)(?::(\w+))?", path):
            key = {"runs": "run_id", "recurringruns": "recurring_run_id"}[match[1]]
            thing = next((each for each in self.things[match[1]] if each[key] == match[2]), None)
            if thing is None:
                return refusal(404)
            if match[3] in ("enable", "disable"):
                thing["status"] = match[3].upper() + "D"
            elif method == "DELETE":
                self.things[match[1]].remove(thing)
            elif method == "GET" and self.script:
                thing |= self.script.pop(0) if len(self.script) > 1 else self.script[0]
            return Answer(thing if method == "GET" else {})
        return refusal(404, f"the fake has no {method} {request.path}")

    def _list(self, kind: str, key: str, request: Request) -> Answer:
        wanted = json.loads(request.query.get("filter") or "{}").get("predicates", [])
        names = {
            predicate.get("stringValue", predicate.get("string_value")) for predicate in wanted
        }
        return Answer(
            {
                key: [
                    each for each in self.things[kind] if not names or each["display_name"] in names
                ]
            }
        )
