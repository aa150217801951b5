"""How a run ended: its verdict, its exit code, and where its report and its records are."""

from dataclasses import dataclass

from greenlight.core import history as runs
from greenlight.core import storage
from greenlight.core.errors import InputError, RejectedError
from greenlight.core.extras import MissingExtraError
from greenlight.core.history import RunRecords
from greenlight.core.records import Verdict
from greenlight.report.headline import headline_of

EXIT_CODES = {
    "promoted": 0,
    "already_live": 0,
    "up_to_date": 0,
    "held": 0,
    "retired": 3,
    "rolled_back": 3,
}


def exit_code_of(run: RunRecords) -> int:
    """The exit code of `greenlight run` for a run that ended so: 0 promoted, held or up to date;
    1 failed; 2 bad input; 3 rejected, inconclusive or rolled back.
    """
    # Releases before the package called the second one Rejected; histories keep that.
    for kind, names in (
        (InputError, ("InputError",)),
        (MissingExtraError, ("MissingExtraError",)),
        (RejectedError, ("RejectedError", "Rejected")),
    ):
        if run.outcome == "failed" and any(error.error in names for error in run.errors):
            return kind.exit_code
    return EXIT_CODES.get(run.outcome, 1)


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        run_id: of the run.
        history: folder or gs:// prefix of its records.
        log: path of the run's log; in a cloud, the address of its page in the console.
        records: everything that its steps left, as `load_run` reads it.
        exit_code: of `greenlight run` for the same run. 0 promoted, held or up to date; 1 failed;
            2 bad input; 3 rejected, inconclusive or rolled back. None: the run has not ended.
    """

    run_id: str
    history: str
    log: str
    records: RunRecords
    exit_code: int | None

    @classmethod
    def load(cls, history: str, run_id: str, log: str) -> "Outcome":
        """The outcome of a run that ended, from its records."""
        records = runs.load_run(history, run_id)
        return cls(run_id, history, log, records, exit_code_of(records))

    @property
    def outcome(self) -> runs.OutcomeName:
        """What became of the run, such as promoted, retired, held, up_to_date or failed."""
        return self.records.outcome

    @property
    def verdict(self) -> Verdict | None:
        """The gate's verdict: promote, reject or inconclusive. None: the gate did not judge."""
        return self.records.decision.verdict if self.records.decision else None

    @property
    def reason(self) -> str:
        """The verdict, or what failed, in one sentence."""
        return headline_of(self.records).sentence

    @property
    def report(self) -> str:
        """Path or gs:// URI of the report, an HTML file. The last step of a run writes it."""
        return storage.join(self.history, self.run_id, "report.html")
