"""Settings: read from the environment, refused by the variable's name, and silent about secrets."""

from __future__ import annotations

import os

import pytest
from pydantic import AliasChoices, SecretStr, ValidationError

from imagequeue.errors import Misconfigured
from imagequeue.settings import Settings, load_settings

OURS = ("IMAGEQUEUE_", "OPENAI_", "AWS_")
SECRET = "sk-very-secret-1234"

BAD_VALUES = [
    ("IMAGEQUEUE_API_PORT", "eighty", "valid integer"),
    ("IMAGEQUEUE_API_PORT", "0", "greater than or equal to 1"),
    ("IMAGEQUEUE_API_PORT", "65536", "less than or equal to 65535"),
    ("IMAGEQUEUE_WORKER_SLOTS", "0", "greater than or equal to 1"),
    ("IMAGEQUEUE_WORKER_SLOTS", "1.5", "valid integer"),
    ("IMAGEQUEUE_LEASE_SECONDS", "0", "greater than or equal to 1"),
    ("IMAGEQUEUE_LEASE_SECONDS", "nan", "finite number"),
    ("IMAGEQUEUE_LEASE_SECONDS", "15s", "valid number"),
    ("IMAGEQUEUE_OPENAI_TIMEOUT_SECONDS", "-1", "greater than 0"),
    ("IMAGEQUEUE_RETRY_BUDGET_SECONDS", "never", "valid number"),
    ("IMAGEQUEUE_MAX_WAIT_SECONDS", "0", "greater than 0"),
    ("IMAGEQUEUE_ON_UNKNOWN_OUTCOME", "ask", "'retry' or 'fail'"),
    ("IMAGEQUEUE_PRESIGNED_URL_SECONDS", "604801", "less than or equal to 604800"),
    ("IMAGEQUEUE_S3_BUCKET", "iq", "at least 3 characters"),
    ("IMAGEQUEUE_MAX_BODY_BYTES", "1", "greater than or equal to 1024"),
    ("IMAGEQUEUE_LOG_LEVEL", "loud", "'debug', 'info', 'warning' or 'error'"),
    ("IMAGEQUEUE_LOG_FORMAT", "xml", "'console' or 'json'"),
]


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the machine's own settings."""
    for name in list(os.environ):
        if name.upper().startswith(OURS):
            monkeypatch.delenv(name)


def variable_of(field: str) -> str:
    """The environment variable that a field is read from first."""
    alias = Settings.model_fields[field].validation_alias
    if alias is None:
        return f"IMAGEQUEUE_{field.upper()}"
    if isinstance(alias, AliasChoices):
        return str(alias.convert_to_aliases()[0][0])
    return str(alias)


def test_without_any_variable_the_defaults_hold() -> None:
    settings = load_settings()
    assert settings == Settings()
    assert settings.redis_url == settings.celery_broker_url == "redis://127.0.0.1:6379/0"
    assert (settings.openai_api_key, settings.model, settings.lease_ms) == (None, "gpt-image-2", 15_000)


@pytest.mark.parametrize(("variable", "value", "problem"), BAD_VALUES)
def test_a_bad_value_is_refused_in_one_line_that_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, problem: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(Misconfigured) as caught:
        load_settings()
    text = str(caught.value)
    assert text.startswith(f"Bad setting: {variable}: ")
    assert problem in text
    assert "\n" not in text


def test_all_bad_values_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEQUEUE_API_PORT", "x")
    monkeypatch.setenv("IMAGEQUEUE_LOG_LEVEL", "y")
    with pytest.raises(Misconfigured, match=r"IMAGEQUEUE_API_PORT: .*; IMAGEQUEUE_LOG_LEVEL: "):
        load_settings()


@pytest.mark.parametrize("variable", sorted({variable for variable, _, _ in BAD_VALUES} - {"IMAGEQUEUE_S3_BUCKET"}))
def test_a_secret_put_into_the_wrong_variable_is_not_shown(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, SECRET)
    with pytest.raises(Misconfigured) as caught:
        load_settings()
    assert variable in str(caught.value)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("variable", ["OPENAI_API_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_secrets_are_read_and_never_printed(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, SECRET)
    settings = load_settings()
    secret = getattr(settings, variable.lower())
    assert isinstance(secret, SecretStr)
    assert secret.get_secret_value() == SECRET
    for text in (repr(settings), str(settings), settings.model_dump_json(), str(settings.model_dump())):
        assert SECRET not in text


@pytest.mark.parametrize("field", sorted(Settings.model_fields))
def test_every_setting_says_what_it_is_for_and_can_be_left_empty(monkeypatch: pytest.MonkeyPatch, field: str) -> None:
    described = Settings.model_fields[field].description
    assert described
    assert described.endswith(".")
    monkeypatch.setenv(variable_of(field), "")
    assert getattr(load_settings(), field) == getattr(Settings(), field)
    assert load_settings() == Settings()


@pytest.mark.parametrize("field", [name for name in Settings.model_fields if name.endswith(("_seconds", "_bytes"))])
def test_a_setting_with_a_unit_is_described_with_it(field: str) -> None:
    described = Settings.model_fields[field].description or ""
    unit = field.rpartition("_")[2]
    assert unit in described or "How long" in described


@pytest.mark.parametrize("field", ["redis_url", "s3_endpoint", "openai_base_url", "aws_region", "key_prefix"])
def test_a_text_is_taken_from_its_variable(monkeypatch: pytest.MonkeyPatch, field: str) -> None:
    monkeypatch.setenv(variable_of(field), "given")
    assert getattr(load_settings(), field) == "given"


def test_the_region_has_two_usual_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    assert load_settings().aws_region == "eu-central-1"
    monkeypatch.setenv("AWS_REGION", "eu-north-1")
    assert load_settings().aws_region == "eu-north-1"


def test_messages_may_have_a_redis_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEQUEUE_BROKER_URL", "redis://broker:6379/1")
    settings = load_settings()
    assert settings.celery_broker_url == "redis://broker:6379/1"
    assert settings.redis_url == "redis://127.0.0.1:6379/0"


def test_the_lease_is_given_to_scripts_in_milliseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEQUEUE_LEASE_SECONDS", "2.5")
    assert load_settings().lease_ms == 2500


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        load_settings().api_port = 1
