"""The import path of the processes that we start: never the folder that the command was typed in.

A folder with a `components/`, a `json.py` or a `torch.py` of its own is nothing unusual.
`python -m` and `python -c` import from the current folder first; with PYTHONSAFEPATH they do not.
"""

import os
import sysconfig
from pathlib import Path

PACKAGE_ROOT = Path(__file__).parents[2]
"""The folder that holds the package: of a checkout, or where packages are installed."""


def safe_environment() -> dict[str, str]:
    """The variables to set for a Python process that imports our package.

    PYTHONPATH gets the folder of the package where packages are not installed (a checkout, an
    image), and loses empty entries, which mean the current folder.
    """
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    installed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    if str(PACKAGE_ROOT) not in installed.union(paths):
        paths.insert(0, str(PACKAGE_ROOT))
    return {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(paths)}
