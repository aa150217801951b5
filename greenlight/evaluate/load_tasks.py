"""Tasks made ready to be asked: the only way to `lm_eval_harness`, whose import takes seconds."""

from typing import TYPE_CHECKING

from greenlight.evaluate.tasks import Tasks, check_installed

if TYPE_CHECKING:
    from greenlight.evaluate.lm_eval_harness import LoadedTasks


def load_tasks(tasks: Tasks) -> "LoadedTasks | None":
    """Tasks that are ready to be asked. None where there are none.

    Raises:
        InputError: lm-eval has no such task, cannot get its data, or its items are not right or
            wrong.
        GreenlightError: lm-eval is not here.
    """
    if not tasks:
        return None
    check_installed()
    from greenlight.evaluate.lm_eval_harness import LoadedTasks

    return LoadedTasks(tasks)
