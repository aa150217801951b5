"""Dockerfile.components: what steps find in the image, and what they do not."""

from tests.pipelines.components_image import ComponentsImage
from tests.serving.test_image import output

LAUNCHER_NEEDS = ("sh", "mktemp", "python3")
MEANT_FOR_HERE = ("mypy", "ruff", "uv", "pip", "hypothesis")


def test_it_is_described(components_image: ComponentsImage) -> None:
    config = components_image.config
    assert config["User"] == "10001:10001", (
        "a number: where runAsNonRoot is asked for, a name is refused"
    )
    assert config["Labels"]["org.opencontainers.image.title"] == "greenlight-components"
    assert not config["Entrypoint"], "a backend gives the whole command line"


def test_it_holds_what_it_needs_and_no_more(components_image: ComponentsImage) -> None:
    root = components_image.root
    assert sorted(path.name for path in (root / "app").iterdir()) == [
        "components",
        "greenlight",
        "k8s",
        "pipelines",
        "serving",
    ]
    found = {
        path.name
        for folder in ("bin", "usr/bin", "usr/local/bin")
        for path in (root / folder).iterdir()
    }
    assert set(LAUNCHER_NEEDS) <= found and not found & {"cc", "gcc", "g++", "clang", "make", "ld"}
    assert not (root / "root/.cache").exists() and not list((root / "tmp").iterdir())
    assert all(
        path.with_name("__pycache__").is_dir() for path in (root / "app/components").rglob("*.py")
    ), "nobody may write bytecode when steps run"
    packages = next((components_image.opt / "greenlight/lib").iterdir()) / "site-packages"
    assert all(
        (packages / name).is_dir()
        for name in ("kfp", "torch", "llmcompressor", "openvino_genai", "kubernetes", "locust")
    )
    assert not [name for name in MEANT_FOR_HERE if (packages / name).exists()]


def test_its_code_is_that_of_the_compiled_pipeline(components_image: ComponentsImage) -> None:
    """The keys of caches are made of it, wherever it lies."""
    from greenlight.core.cache_keys import release_key

    with components_image.running():
        python = ("python", "-c")
        assert (
            components_image.run(
                *python, "from greenlight.core.cache_keys import release_key; print(release_key())"
            ).stdout.strip()
            == release_key()
        )
        look = (
            "from greenlight.quantize.methods import check_installed, methods;"
            " [check_installed(name) for name in methods()]"
        )
        assert components_image.run(*python, look).stdout == ""
        assert "recover" in components_image.run("greenlight", "--help").stdout


def test_nothing_but_the_image_is_there(components_image: ComponentsImage) -> None:
    with components_image.running():
        run = components_image.run
        assert run("id", "-u").stdout == "10001\n"
        assert "CapEff:\t0000000000000000" in run("cat", "/proc/self/status").stdout
        assert (
            run("touch", "/app/file").returncode
            and run("touch", "/opt/file").returncode
            and run("touch", "/home/greenlight/file").returncode
        )
        assert not run("ls", "/work").stdout.startswith("main")
        assert (
            run(
                "python",
                "-c",
                "import sys; print([path for path in sys.path if not path.startswith(('/app',"
                " '/opt', '/usr'))])",
            ).stdout
            == "[]\n"
        )
        assert [
            line.split(":")[0].strip()
            for line in run("cat", "/proc/net/dev").stdout.splitlines()[2:]
        ] == ["lo"]
        assert output("id", "-u") == "0", "the caller stays who he is"
