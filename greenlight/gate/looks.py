"""The planned looks of the gate, taken while the pairs run: once one decides, no more are sent."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from greenlight.benchmark.samples import Block, CollectedRequests, blocks_table, count_blocks

if TYPE_CHECKING:
    from greenlight.core.records import Deployment
    from greenlight.gate.objectives import Gate

log = logging.getLogger("greenlight.benchmark")


class Looks:
    """Judges the pairs until now by the gate, at its planned looks only, as the step `gate` will
    judge the same samples.

    Attributes:
        stopped_at: the look that decided; 0 while none has.
    """

    def __init__(
        self, gate: "Gate", evaluation_folder: Path | str, deployment: "Deployment"
    ) -> None:
        self.gate, self.evaluation_folder, self.deployment = (
            gate,
            Path(evaluation_folder),
            deployment,
        )
        self.remaining = list(gate.benchmark.look_pairs[:-1])
        self.stopped_at = 0

    def should_stop(self, requests: CollectedRequests, blocks: Sequence[Block]) -> bool:
        """Take the looks for which there are enough pairs now. True when one has decided; no
        look is taken after that.
        """
        while self.remaining and not self.stopped_at and requests.first_pairs >= self.remaining[0]:
            self._judge_at(self.remaining.pop(0), requests, blocks)
        return bool(self.stopped_at)

    def _judge_at(self, pairs: int, requests: CollectedRequests, blocks: Sequence[Block]) -> None:
        import pyarrow.compute as pc

        from greenlight.gate.measurements import samples_so_far
        from greenlight.gate.verdict import decide

        table = requests.table()
        until = table.filter(
            pc.or_(pc.equal(table["phase"], "throughput"), pc.less(table["pair"], pairs))
        )
        counted = blocks_table(count_blocks(blocks, until))
        decided = decide(
            samples_so_far(self.evaluation_folder, self.deployment, until, counted, self.gate),
            self.gate,
        )
        last = decided.looks[-1]
        log.info(
            "look after %d pairs: %s, %d of %d objectives pass",
            pairs,
            decided.verdict,
            last.passed,
            len(self.gate.objectives),
        )
        if decided.verdict != "inconclusive":
            self.stopped_at = pairs
