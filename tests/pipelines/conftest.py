"""The components image, built once per session."""

from collections.abc import Iterator

import pytest

from tests.pipelines.components_image import ComponentsImage, built_image


@pytest.fixture(scope="session")
def components_image() -> Iterator[ComponentsImage]:
    with built_image() as image:
        yield image
