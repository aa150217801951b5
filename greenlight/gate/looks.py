"""The planned looks of the gate, put while the pairs run: what is decided needs no more of them."""

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
    """What the gate would say of the pairs until now. It is asked only at its planned looks, and
    says what the step `gate` will say of the same samples.

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
        """Put the looks for which there are pairs enough now. True when one has decided; nothing is
        asked after that.
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
