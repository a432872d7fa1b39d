"""The environment, as the library and the canary read it."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canary.notify.heartbeat import Heartbeat
from canary.notify.slack import SlackChannel
from canary.settings import CanarySettings
from orchestrator_resilience import ConfigurationError
from orchestrator_resilience.settings import Settings
from orchestrator_resilience.stores.opening import open_stores
from tests.proof.inputs import fuzzed, mutated_text, or_error


def test_an_empty_environment_has_defaults() -> None:
    """The checkpoints are on, and the embedded stores are in the working folder."""
    assert Settings.from_env({}).checkpoints_enabled
    assert Settings.from_env({}) == Settings(
        checkpoints_switch="",
        phases_file=None,
        data_dir=Path("resilience-data"),
        project=None,
        bigquery_location=None,
        bigquery_emulated=False,
        maximum_bytes_billed=1024**3,
        firestore_database="(default)",
        memory_database=None,
        phase="phase2",
        orchestrator_service=None,
        dead_letters=None,
        pubsub_emulator=None,
        service=None,
        revision=None,
        colours=True,
    )


@pytest.mark.parametrize(("text", "limit"), [("", 1024**3), (" 10485760 ", 10 * 1024**2)])
def test_how_much_a_query_may_read_is_a_number_of_bytes(text: str, limit: int) -> None:
    """By default 1 GiB."""
    assert Settings.from_env({"MAXIMUM_BYTES_BILLED": text}).maximum_bytes_billed == limit


@given(
    st.text(max_size=50).filter(
        lambda text: text.strip() and not re.fullmatch("[0-9]{1,15}", text.strip())
    )
)
def test_what_is_no_number_of_bytes_is_refused_by_name(text: str) -> None:
    """Whatever else it is."""
    with pytest.raises(
        ConfigurationError, match="MAXIMUM_BYTES_BILLED: expected a number of bytes"
    ):
        Settings.from_env({"MAXIMUM_BYTES_BILLED": text})


def test_the_canarys_defaults() -> None:
    """It is on, without Slack and without a heartbeat."""
    assert CanarySettings.from_env({}) == CanarySettings(
        enabled=True, slack_webhook_url=None, heartbeat_url=None
    )


def test_a_secret_is_not_shown() -> None:
    """Settings end up in tracebacks and logs."""
    url = "https://hooks.example/secret"
    settings = CanarySettings.from_env({"SLACK_WEBHOOK_URL": url, "HEARTBEAT_URL": url})
    assert (settings.slack_webhook_url, settings.heartbeat_url) == (url, url)
    assert "secret" not in repr(settings)


def test_who_runs_is_what_cloud_run_says() -> None:
    """The names of the service and its revision."""
    settings = Settings.from_env(
        {"K_SERVICE": "phase2-orchestrator", "K_REVISION": "phase2-orchestrator-00007-abc"}
    )
    assert (settings.service, settings.revision) == (
        "phase2-orchestrator",
        "phase2-orchestrator-00007-abc",
    )
    assert settings.on_cloud_run
    assert not Settings.from_env({"K_SERVICE": ""}).on_cloud_run


@pytest.mark.parametrize(
    ("value", "on"),
    [
        ("false", False),
        ("FALSE", False),
        (" 0 ", False),
        ("no", False),
        ("off", False),
        ("true", True),
        ("", True),
    ],
)
def test_the_rollback_switches(value: str, on: bool) -> None:  # noqa: FBT001
    """One variable a layer, in the usual spellings."""
    both = [
        (Settings.from_env(env).checkpoints_enabled, CanarySettings.from_env(env).enabled)
        for env in ({"CHECKPOINTS_ENABLED": value}, {"CANARY_ENABLED": value})
    ]
    assert both == [(on, True), (True, on)]


def test_a_switch_in_no_position_is_named() -> None:
    """A typing error in an emergency is reported, not guessed at, and the other layer goes on."""
    settings = Settings.from_env({"CHECKPOINTS_ENABLED": "flase"})
    with pytest.raises(
        ConfigurationError, match="CHECKPOINTS_ENABLED: expected true or false, got 'flase'"
    ):
        _ = settings.checkpoints_enabled
    with pytest.raises(
        ConfigurationError, match="CANARY_ENABLED: expected true or false, got 'flase'"
    ):
        CanarySettings.from_env({"CANARY_ENABLED": "flase"})
    assert CanarySettings.from_env({"CHECKPOINTS_ENABLED": "flase"}).enabled
    assert Settings.from_env({"CANARY_ENABLED": "flase"}).checkpoints_enabled


def test_the_embedded_stores_are_refused_inside_cloud_run(tmp_path: Path) -> None:
    """A local file there would be gone with the instance, and nobody would know."""
    settings = Settings.from_env(
        {"K_SERVICE": "canary", "RESILIENCE_DATA_DIR": str(tmp_path / "data")}
    )
    with pytest.raises(
        ConfigurationError, match="GOOGLE_CLOUD_PROJECT is not set, and K_SERVICE is"
    ):
        open_stores(settings, {})
    assert not (tmp_path / "data").exists()


def test_googles_libraries_missing_is_reported_with_the_remedy() -> None:
    """A project is set, and the extra that the cloud's stores need is not installed."""
    program = (
        "import sys; sys.modules['google.cloud'] = None\n"
        "from orchestrator_resilience import ConfigurationError\n"
        "from orchestrator_resilience.settings import Settings\n"
        "from orchestrator_resilience.stores.opening import open_stores\n"
        "try:\n    open_stores(Settings.from_env({'GOOGLE_CLOUD_PROJECT': 'p'}), {})\n"
        "except ConfigurationError as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "is not installed: pip install 'orchestrator-resilience[cloud]'" in done.stdout


def test_the_address_of_the_page_can_have_a_path_behind_it() -> None:
    """What would end a link, or is none, is refused by the variable's name."""
    assert (
        CanarySettings.from_env({"PAGE_URL": "https://canary.example:8080/\n"}).page_url
        == "https://canary.example:8080"
    )
    for odd in (
        "canary.example",
        "javascript:alert(1)",
        "https://x|y",
        "https://x y",
        "https://x/?a=b",
    ):
        with pytest.raises(ConfigurationError, match="PAGE_URL: expected an address"):
            CanarySettings.from_env({"PAGE_URL": odd})


_VARIABLES = {
    "CHECKPOINTS_ENABLED": "false",
    "CANARY_ENABLED": "true",
    "PHASES_FILE": "phases.toml",
    "RESILIENCE_DATA_DIR": "data",
    "PHASE": "phase2",
    "SLACK_WEBHOOK_URL": "https://hooks.slack.com/services/T0/B0/SECRET",
    "HEARTBEAT_URL": "https://hc-ping.com/SECRET",
    "PAGE_URL": "https://canary.example.com",
}


@fuzzed(50)
@given(
    st.fixed_dictionaries(
        {
            name: mutated_text(value).map(lambda text: text.replace("\0", ""))
            for name, value in _VARIABLES.items()
        }
    )
)
def test_what_makes_no_sense_is_refused_by_its_name(env: dict[str, str]) -> None:
    """An address that is a secret is not shown."""
    settings = Settings.from_env(env)
    readers: dict[str, Callable[[], object]] = {
        "CHECKPOINTS_ENABLED": lambda: settings.checkpoints_enabled,
        "": lambda: CanarySettings.from_env(env),
        "SLACK_WEBHOOK_URL": lambda: SlackChannel(env["SLACK_WEBHOOK_URL"], {}),
        "HEARTBEAT_URL": lambda: Heartbeat(env["HEARTBEAT_URL"]),
    }
    for variable, read in readers.items():
        error = or_error(ConfigurationError, read)
        if isinstance(error, ConfigurationError):
            assert str(error).startswith(
                tuple(f"{name}: " for name in env if variable in {"", name})
            ), error
            assert str(error).isprintable(), ascii(str(error))
            assert not (variable.endswith("URL") and "SECRET" in str(error))
