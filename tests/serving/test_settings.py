"""Settings from the environment: what is read, and what is said of a value that is unusable."""

import pytest

from greenlight.core.errors import InputError
from greenlight.serving.settings import Settings


def test_variables_are_read_and_an_empty_one_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"MODEL_ID": "m", "PORT": "0", "USE_4BIT": "true", "MAX_QUEUE": ""}.items():
        monkeypatch.setenv(name, value)
    settings = Settings.from_environment()
    assert (settings.model_id, settings.port, settings.use_4bit) == ("m", 0, True)
    assert settings.max_queue == 256


@pytest.mark.parametrize(
    ("name", "value", "fix"),
    [
        ("MODEL_ID", "", "set it to a text"),
        ("PORT", "70000", "a whole number from 0 to 65535"),
        ("PRECISION", "bf16", "set it to fast or exact"),
        ("USE_4BIT", "perhaps", "set it to true or false"),
        ("REQUEST_TIMEOUT", "nan", "a number from 0 to 86400"),
        ("RELEASE_ID", "a b", "a text without spaces"),
        ("STABLE_URL", "https://a", "a URL that starts with http://"),
    ],
)
def test_an_unusable_value_is_named_with_its_fix(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, fix: str
) -> None:
    monkeypatch.setenv("MODEL_ID", "m")
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError) as raised:
        Settings.from_environment()
    message = str(raised.value)
    assert message.startswith(f"{name}: {value!r}: ") and fix in message


def test_secrets_are_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_ID", "m")
    monkeypatch.setenv("API_KEYS", "sesame")
    assert "sesame" not in repr(Settings.from_environment())
