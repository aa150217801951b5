"""Load for one or two inference endpoints, as Locust runs it.

By hand, with the web UI on http://127.0.0.1:8089 (every option can be changed there, and is also an
environment variable):

    locust -f greenlight/benchmark/locustfile.py --endpoint-a http://127.0.0.1:8000 [--endpoint-b
    http://127.0.0.1:8001]

The users then send pairs until they are stopped: the same prompt to a and b, one right after the
other, in random order. Locust shows time to first token (TTFT), the mean gap between tokens (ITL)
and the time to the last byte (E2E) of both in milliseconds.

    --endpoint-a   GREENLIGHT_ENDPOINT_A   URLs of the candidate, separated by commas
    --endpoint-b   GREENLIGHT_ENDPOINT_B   URLs of the live color; empty: only a is loaded
    --prompts      GREENLIGHT_PROMPTS      builtin, or the path or gs:// URI of a JSONL file
    --max-length   GREENLIGHT_MAX_LENGTH   output tokens of every request

The step `benchmark` runs this same file headless with `--job FILE` (see generator.py), which then
decides everything: warm-up, a planned number of throughput windows, pairs, and a line for every
request.
"""

import logging
import os
from collections.abc import Callable

import gevent
from locust import User, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment

from greenlight.benchmark.barrier import Barrier
from greenlight.benchmark.client import Reply
from greenlight.benchmark.generator import Job
from greenlight.benchmark.plan import ROLES, Plan, Side
from greenlight.benchmark.planned_requests import PlannedRequest
from greenlight.benchmark.prompts import load_prompts
from greenlight.benchmark.scheduler import Caller, Recorder, Scheduler
from greenlight.benchmark.workload import Workload
from greenlight.core.errors import InputError

log = logging.getLogger(__name__)


class ByHand(Plan):
    """Pairs without end and without throughput windows, by as many users as the web UI sets (at
    most a thousand).
    """

    pairs: int = 0
    users: int = 1000


@events.init_command_line_parser.add_listener
def add_options(parser: LocustArgumentParser, **_: object) -> None:
    parser.add_argument(
        "--endpoint-a",
        env_var="GREENLIGHT_ENDPOINT_A",
        default="http://127.0.0.1:8080",
        help="URLs of the candidate, separated by commas",
    )
    parser.add_argument(
        "--endpoint-b",
        env_var="GREENLIGHT_ENDPOINT_B",
        default="",
        help="URLs of the live color; empty: only a is loaded",
    )
    parser.add_argument(
        "--prompts",
        env_var="GREENLIGHT_PROMPTS",
        default="builtin",
        include_in_web_ui=False,
        help="builtin, or the path or URI of a JSONL file",
    )
    parser.add_argument(
        "--max-length",
        env_var="GREENLIGHT_MAX_LENGTH",
        type=int,
        default=Plan().max_tokens,
        help="output tokens per request",
    )
    parser.add_argument(
        "--job",
        default="",
        include_in_web_ui=False,
        help="JSON file with the plan of the step benchmark; it overrides all other options",
    )


class ColorUser(User):
    """One user. The scheduler decides what it sends next."""

    scheduler: Scheduler

    def on_start(self) -> None:
        self.caller = Caller(self.scheduler.plan.timeout)

    def on_stop(self) -> None:
        self.caller.close()

    @task
    def work(self) -> None:
        self.scheduler.work(self.caller)


@events.init.add_listener
def check(environment: Environment, **_: object) -> None:
    """Refuse bad input at the start of the process, before a user is spawned."""
    # gevent's clock stands still while modules are imported; without this the first timeouts, and
    # Locust's --run-time, come early.
    gevent.get_hub().loop.update_now()
    if not environment.parsed_options.job:
        try:
            load_prompts(environment.parsed_options.prompts)
        except InputError as error:
            log.error("%s", error)
            raise SystemExit(error.exit_code) from None


@events.test_start.add_listener
def start(environment: Environment, **_: object) -> None:
    options = environment.parsed_options
    if options.job:
        job = Job.load(options.job)
        barrier = Barrier(job.barrier, job.worker, job.workers)
        ColorUser.scheduler = Scheduler(
            job.plan,
            job.workload,
            job.sides,
            job.planned,
            _report(environment),
            Recorder(job.folder),
            barrier,
        )
        gevent.spawn(_run_job, environment, ColorUser.scheduler, job.parent)
    else:
        urls = {"candidate": options.endpoint_a, "live": options.endpoint_b}
        sides = [
            Side(role=role, endpoints=tuple(urls[role].split(","))) for role in ROLES if urls[role]
        ]
        planned = [
            PlannedRequest.of(prompt, options.max_length)
            for prompt in load_prompts(options.prompts)
        ]
        ColorUser.scheduler = Scheduler(
            ByHand(max_tokens=options.max_length), Workload(), sides, planned, _report(environment)
        )
        gevent.spawn(ColorUser.scheduler.run_pairs)


def _report(environment: Environment) -> Callable[[Side, Reply], None]:
    """Tell Locust's statistics about every reply, in milliseconds."""

    def report(side: Side, reply: Reply) -> None:
        error = RuntimeError(f"{reply.error}: {reply.detail}") if reply.error else None
        figures = {"E2E": reply.ended - reply.sent}
        if not error:
            figures |= {
                "TTFT": reply.stamps[0] - reply.sent,
                "ITL": (reply.stamps[-1] - reply.stamps[0]) / max(1, len(reply.stamps) - 1),
            }
        for name, seconds in figures.items():
            environment.events.request.fire(
                request_type=side.role,
                name=name,
                response_time=seconds * 1000,
                response_length=reply.tokens_out,
                exception=error,
                context={},
            )

    return report


def _run_job(environment: Environment, scheduler: Scheduler, parent: int) -> None:
    """Run a benchmark and end Locust with exit code 0 when all of it was done. Ends early when
    the step that started it is gone.
    """
    environment.process_exit_code = 1
    running = gevent.spawn(scheduler.run)
    while not running.ready():
        running.join(timeout=0.5)
        if os.getppid() != parent:
            os._exit(1)
    if running.successful():
        environment.process_exit_code = 0
    assert environment.runner
    environment.runner.quit()
