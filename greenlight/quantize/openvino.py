"""What the methods of OpenVINO share: the environment of the export, and the artifact's format. A
method says what to do there.
"""

import os
import sys
from importlib import metadata
from pathlib import Path

from greenlight.core.child_process import PACKAGE_ROOT, run_python
from greenlight.core.errors import GreenlightError
from greenlight.quantize.methods.base import Job, Method

ENVIRONMENT_VARIABLE = "GREENLIGHT_OPENVINO_PYTHON"
EXPORT = ("export", "openvino", "--task", "text-generation-with-past", "--library", "transformers")
"""The beginning of optimum-cli's arguments."""
# NNCF draws its progress with rich, which shows only the end of it where nobody sees a terminal.
PROGRESS = {"TTY_COMPATIBLE": "1", "TTY_INTERACTIVE": "1", "TERM": "xterm", "NO_COLOR": "1"}
# Our package alone is shown to the other environment, and not the folder it lies in: that may be
# the site-packages of this one.
START = """
import importlib, importlib.util
root = sys.argv.pop(1)
spec = importlib.util.spec_from_file_location("greenlight", f"{root}/__init__.py", submodule_search_locations=[root])
sys.modules["greenlight"] = importlib.util.module_from_spec(spec)
importlib.import_module(sys.argv.pop(1)).work(*sys.argv[1:])
"""


class OpenVINO(Method):
    """A method whose work is done in the export environment: optimum-intel cannot share one with
    transformers 5.17.
    """

    library = "optimum-intel"
    packages = ("optimum-intel", "optimum", "openvino", "nncf", "transformers", "torch")
    format = "openvino"
    engines = ("openvino",)
    disk = 4.0  # the export in 32 bits, then the compressed copy
    tolerance = 0.0001

    def run(self, module: str, arguments: list[str], job: Job) -> int:
        """Call `work(scratch, *arguments)` of one of our modules in the export environment. Returns
        its peak memory in bytes.
        """
        arguments = [str(PACKAGE_ROOT / "greenlight"), module, str(job.scratch), *arguments]
        return run_python(environment(), START, arguments, job.scratch, self.library, PROGRESS)

    def check_installed(self) -> None:
        environment()

    def versions(self) -> dict[str, str]:
        # Read from the other environment's folder: asking its interpreter would take a second.
        folders = [
            str(folder) for folder in environment().parent.parent.glob("lib/python*/site-packages")
        ]
        versions = {
            found.name.lower().replace("_", "-"): found.version
            for found in metadata.distributions(path=folders)
        }
        return {name: versions[name] for name in self.packages if name in versions}


def environment() -> Path:
    """The interpreter of the export environment.

    Raises:
        GreenlightError: there is none.
    """
    given = os.environ.get(ENVIRONMENT_VARIABLE)
    places = (
        [Path(given)]
        if given
        else [
            Path(sys.prefix).parent / ".venv-openvino/bin/python",
            Path("/opt/openvino-export/bin/python"),
        ]
    )
    for place in places:
        if os.access(place, os.X_OK):
            return place
    raise GreenlightError(
        f"Methods of OpenVINO need its export environment, and {' and '.join(map(str, places))}"
        f" {'is' if given else 'are'} not there. Run `make install`, or set {ENVIRONMENT_VARIABLE}"
        " to the interpreter of an environment that has optimum-intel."
    )
