"""The library's part of the environment, read in one place.

The canary's own part is in canary/settings.py.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator_resilience.errors import ConfigurationError

# A query over seven partitions reads megabytes; this only stops one that was written wrongly.
MAXIMUM_BYTES_BILLED = 1024**3
DEFAULT_DATABASE = "(default)"
_ON = {"", "1", "true", "yes", "on"}
_OFF = {"0", "false", "no", "off"}


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says.

    | variable             | meaning                                                   | default           |
    |----------------------|-----------------------------------------------------------|-------------------|
    | CHECKPOINTS_ENABLED  | false silences the checkpoints (layer 1)                  | true              |
    | PHASES_FILE          | a phases.toml of your own                                 | the bundled one   |
    | RESILIENCE_DATA_DIR  | folder of the embedded stores                             | ./resilience-data |
    | GOOGLE_CLOUD_PROJECT | the project whose stores are used, and its traces         | embedded stores   |
    | BIGQUERY_LOCATION    | where queries run                                         | the dataset's     |
    | MAXIMUM_BYTES_BILLED | what one query may cost at the most, in bytes              | 1 GiB             |
    | FIRESTORE_DATABASE   | the Firestore database, where it is a named one           | (default)         |
    | MEMORY_DATABASE      | a Firestore database of the canary's own, for its memory  | the one above     |
    | PHASE                | the phase that the orchestrator function serves           | phase2            |
    | ORCHESTRATOR_SERVICE | its Cloud Run service: its requests and errors are read   | none              |
    | DEAD_LETTERS         | a subscription to its dead letters, for the canary        | none              |
    | K_SERVICE            | set by Cloud Run: the embedded stores are refused there   | none              |
    | K_REVISION           | set by Cloud Run: what answers a probe, and leaves a line | none              |
    | NO_COLOR             | any value: no colours in a terminal                       | none              |

    GOOGLE_APPLICATION_CREDENTIALS is read by Google's libraries, as the path of a key. Where it is
    the key itself, they show it in their errors: `credentials_are_a_key` is all that is kept of it
    here.
    """

    checkpoints_switch: str
    phases_file: Path | None
    data_dir: Path
    project: str | None
    bigquery_location: str | None
    bigquery_emulated: bool
    maximum_bytes_billed: int
    firestore_database: str
    memory_database: str | None
    phase: str
    orchestrator_service: str | None
    dead_letters: str | None
    pubsub_emulator: str | None
    service: str | None
    revision: str | None
    colours: bool
    credentials_are_a_key: bool = False
    data_dir_is_named: bool = False

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> "Settings":
        """Read `env`, the process's own by default."""
        env = os.environ if env is None else env
        phases_file = env.get("PHASES_FILE")
        return cls(
            checkpoints_switch=env.get("CHECKPOINTS_ENABLED", ""),
            phases_file=Path(phases_file) if phases_file else None,
            data_dir=Path(env.get("RESILIENCE_DATA_DIR") or "resilience-data"),
            project=env.get("GOOGLE_CLOUD_PROJECT") or None,
            bigquery_location=env.get("BIGQUERY_LOCATION") or None,
            bigquery_emulated=bool(env.get("BIGQUERY_EMULATOR_HOST")),
            maximum_bytes_billed=_read_bytes(
                "MAXIMUM_BYTES_BILLED", env.get("MAXIMUM_BYTES_BILLED", "")
            ),
            firestore_database=env.get("FIRESTORE_DATABASE") or DEFAULT_DATABASE,
            memory_database=env.get("MEMORY_DATABASE") or None,
            phase=env.get("PHASE") or "phase2",
            orchestrator_service=env.get("ORCHESTRATOR_SERVICE") or None,
            dead_letters=env.get("DEAD_LETTERS") or None,
            pubsub_emulator=env.get("PUBSUB_EMULATOR_HOST") or None,
            service=env.get("K_SERVICE") or None,
            revision=env.get("K_REVISION") or None,
            colours=not env.get("NO_COLOR"),
            data_dir_is_named=bool(env.get("RESILIENCE_DATA_DIR")),
            credentials_are_a_key=env.get("GOOGLE_APPLICATION_CREDENTIALS", "")
            .lstrip()
            .startswith("{"),
        )

    @property
    def on_cloud_run(self) -> bool:
        """Whether this is an instance of a Cloud Run service."""
        return self.service is not None

    # Read by who needs it and not by from_env, so that a mistake in it does not stop the canary.
    @property
    def checkpoints_enabled(self) -> bool:
        """The switch of layer 1; ConfigurationError when it is in no known position."""
        return read_switch("CHECKPOINTS_ENABLED", self.checkpoints_switch)


def _read_bytes(name: str, value: str) -> int:
    """Return a number of bytes, by default 1 GiB; ConfigurationError for what is none."""
    if not re.fullmatch(r"[0-9]{0,15}", value.strip()):
        raise ConfigurationError(
            f"{name}: expected a number of bytes such as 1073741824, got {value[:40]!r}"
        )
    return int(value.strip() or MAXIMUM_BYTES_BILLED)


def read_switch(name: str, value: str) -> bool:
    """Return whether the variable `name` is on, as it is when empty.

    ConfigurationError for an unknown position.
    """
    position = value.strip().lower()
    if position in _ON:
        return True
    if position in _OFF:
        return False
    raise ConfigurationError(f"{name}: expected true or false, got {value!r}")
