"""OpenVINO through the command line of optimum-intel: int4 in groups of 64 with the rest in int8, or int8 everywhere. Needs no calibration.

optimum-intel cannot share an environment with transformers 5.17, so it runs from one of its own.
"""

import json
import os
import sys
from importlib import metadata
from pathlib import Path

from components.errors import GreenlightError
from components.quantize.child import PACKAGE_ROOT, run_python
from components.quantize.methods.base import Job, Method

ENVIRONMENT_VARIABLE = "GREENLIGHT_OPENVINO_PYTHON"
# A group size that a layer's width is no multiple of is made smaller for that layer. Layers that int4 cannot hold stay in int8.
WEIGHTS = {
    4: ["--weight-format", "int4", "--group-size", "64", "--group-size-fallback", "adjust", "--ratio", "1.0"],
    8: ["--weight-format", "int8"],
}
# NNCF draws its progress with rich, which shows only the end of it where nobody sees a terminal.
PROGRESS = {"TTY_COMPATIBLE": "1", "TTY_INTERACTIVE": "1", "TERM": "xterm", "NO_COLOR": "1"}
# Our package alone is shown to the other environment, and not the folder it lies in: that may be the site-packages of this one.
EXPORT = """
import importlib.util
root = sys.argv.pop(1)
spec = importlib.util.spec_from_file_location("components", f"{root}/__init__.py", submodule_search_locations=[root])
sys.modules["components"] = importlib.util.module_from_spec(spec)
from components.quantize.openvino_export import work
work(*sys.argv[1:])
"""


class Optimum(Method):
    name = "optimum"
    bits = (4, 8)
    library = "optimum-intel"
    packages = ("optimum-intel", "optimum", "openvino", "nncf", "transformers", "torch")
    format = "openvino"
    engines = ("openvino",)
    disk = 4.0  # the export in 32 bits, then the compressed copy
    tolerance = 0.0001

    def quantize(self, job: Job) -> int:
        command = ["export", "openvino", "--model", str(job.model), "--task", "text-generation-with-past", "--library", "transformers"]
        arguments = [str(PACKAGE_ROOT / "components"), str(job.scratch), *command, *WEIGHTS[job.bits], str(job.output)]
        peak_memory = run_python(environment(), EXPORT, arguments, job.scratch, self.library, PROGRESS)
        _forget_paths(job.output / "openvino_config.json")
        return peak_memory

    def check_installed(self) -> None:
        environment()

    def versions(self) -> dict[str, str]:
        # Read from the other environment's folder: asking its interpreter would take a second.
        folders = [str(folder) for folder in environment().parent.parent.glob("lib/python*/site-packages")]
        versions = {found.name.lower().replace("_", "-"): found.version for found in metadata.distributions(path=folders)}
        return {name: versions[name] for name in self.packages if name in versions}


def _forget_paths(config_file: Path) -> None:
    """The exporter notes where it read the model. The same model must give the same bytes wherever it lay."""
    config = json.loads(config_file.read_bytes())
    config["quantization_config"].pop("tokenizer", None)
    config_file.write_text(json.dumps(config, indent=2) + "\n")


def environment() -> Path:
    """The interpreter of the export environment.

    Raises:
        GreenlightError: there is none.
    """
    given = os.environ.get(ENVIRONMENT_VARIABLE)
    places = [Path(given)] if given else [Path(sys.prefix).parent / ".venv-openvino/bin/python", Path("/opt/openvino-export/bin/python")]
    for place in places:
        if os.access(place, os.X_OK):
            return place
    raise GreenlightError(
        f"Method optimum needs the OpenVINO export environment, and {' and '.join(map(str, places))} {'is' if given else 'are'} not there."
        f" Run `make install`, or set {ENVIRONMENT_VARIABLE} to the interpreter of an environment that has optimum-intel."
    )


method = Optimum()
