"""The KFP component of the step `download`."""

from kfp import dsl

from greenlight.components.image import COMPONENTS_IMAGE


@dsl.component(base_image=COMPONENTS_IMAGE, packages_to_install=[], install_kfp_package=False)
def download(
    baseline: dsl.Output[dsl.Model],
    source: str,
    commit: str,
    build: str,
    history: str,
    from_gguf: str = "",
) -> None:
    """Fetch the baseline at an exact commit. HF_TOKEN comes from the environment."""
    from greenlight.core.step import step
    from greenlight.models.download import download_model
    from greenlight.models.open_source import parse_source

    with step("download", build, history) as running:
        # the commit says all that a revision could
        place = parse_source(source, from_gguf=from_gguf)
        record = download_model(place, commit, baseline.path)
        baseline.metadata.update(
            source=record.source, commit=record.commit, digest=record.digest, bytes=record.bytes
        )
        running.finish(record, baseline.path, figure=f"{record.bytes / 1e6:.1f} MB")
