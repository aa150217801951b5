"""The KFP component of the step `quantize`."""

from kfp import dsl

from greenlight.components.image import COMPONENTS_IMAGE


@dsl.component(base_image=COMPONENTS_IMAGE, packages_to_install=[], install_kfp_package=False)
def quantize(
    baseline: dsl.Input[dsl.Model],
    candidate: dsl.Output[dsl.Model],
    method: str,
    bits: str,
    sweep: str,
    attempt: str,
    calibration: str,
    calibration_samples: int,
    calibration_length: int,
    limits: str,
    build: str,
    history: str,
) -> None:
    """Quantize the baseline into a candidate. In a sweep, a method that fails leaves a Failure and
    ends well.
    """
    from greenlight.core.records import recipe_name
    from greenlight.core.step import step
    from greenlight.quantize.calibration_text import Calibration
    from greenlight.quantize.candidate import quantize_model

    name = recipe_name(method, int(bits))
    with step("quantize", build, history, *((name, candidate.path) if sweep else ())) as running:
        # numbers travel as doubles
        data = Calibration(calibration, int(calibration_samples), int(calibration_length))
        record = quantize_model(
            baseline.path,
            candidate.path,
            method=method,
            bits=int(bits),
            calibration=data,
            limits=limits,
        )
        candidate.metadata.update(format=record.format, digest=record.digest, bytes=record.bytes)
        running.finish(record, candidate.path, figure=f"{record.bytes / 1e6:.1f} MB")
