"""Which tests share a worker of pytest-xdist, and in which order the workers take them.

`make test` runs pytest twice (tests/run.sh): the tests without the marker `alone` on several
workers, then those with it, one after another on a quiet machine.

A group stays on one worker. By default each file is a group, so what a file sets up once is set up
once. Files that share costly fixtures or one cluster are one group together.
"""

from typing import Any

import pytest

GROUPS = {
    "cluster": ("tests/cluster/",),
    "candidates": ("tests/quantize/", "tests/evaluate/", "tests/components/test_evaluate.py"),
    "vllm": ("tests/serving/test_vllm.py",),
    "images": (
        "tests/serving/test_image.py",
        "tests/pipelines/test_components_image.py",
        "tests/pipelines/test_executors.py",
    ),
    "servers": ("tests/serving/",),
    "promotion": ("tests/end_to_end/test_promotion.py",),
    "interrupted": ("tests/end_to_end/test_interrupted.py",),
    "killed": ("tests/rollout/test_killed.py",),
}
"""How the paths of a group's files begin. The first group that fits counts.

Workers begin with the groups that stand first, so the longest do: one that began last would keep
its worker busy while the others have nothing left to do."""


def group_of(nodeid: str) -> str:
    """The group of a test."""
    path = nodeid.partition("::")[0]
    return next((name for name, begins in GROUPS.items() if path.startswith(begins)), path)


# xdist's own way, `--dist loadgroup`, has no effect with pytest 9.2: there the marker `xdist_group`
# no longer reaches the scheduler (xdist 3.8).
@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give the tests of a group to the same worker."""
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

    class ByGroup(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    return ByGroup(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On a worker of xdist, put the groups into the order in which workers take them."""
    if hasattr(config, "workerinput"):
        order = {name: index for index, name in enumerate(GROUPS)}
        items.sort(key=lambda item: order.get(group_of(item.nodeid), len(order)))
