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
    """What the environment says: each field with its variable, what that means, and its default."""

    checkpoints_switch: str
    """CHECKPOINTS_ENABLED: `false` silences the checkpoints. Default: `true`."""
    phases_file: Path | None
    """PHASES_FILE: A phases file of your own. Default: the bundled one."""
    data_dir: Path
    """RESILIENCE_DATA_DIR: The folder of the embedded stores. A running process notices that their
    database was replaced; anyone who deletes or restores it deletes its `-wal` and `-shm` too.
    Default: `./resilience-data`.
    """
    project: str | None
    """GOOGLE_CLOUD_PROJECT: The project whose stores are used, and its traces. Default: the
    embedded stores.
    """
    bigquery_location: str | None
    """BIGQUERY_LOCATION: Where queries run. Default: the dataset's location."""
    bigquery_emulated: bool
    """BIGQUERY_EMULATOR_HOST: Host and port of a BigQuery emulator. Default: Google's BigQuery."""
    maximum_bytes_billed: int
    """MAXIMUM_BYTES_BILLED: What one query may cost at the most, in bytes; one that would cost more
    is refused, and the canary says so. Default: 1 GiB.
    """
    firestore_database: str
    """FIRESTORE_DATABASE: The Firestore database, where it is a named one. Default: `(default)`."""
    memory_database: str | None
    """MEMORY_DATABASE: A Firestore database of the canary's own, for what it remembers
    (`canary_memory`) and what people say (`canary_people`); the command needs it as well. Default:
    the database above.
    """
    phase: str
    """PHASE: The phase that the orchestrator function serves. Default: `phase2`."""
    orchestrator_service: str | None
    """ORCHESTRATOR_SERVICE: The Cloud Run service of that function. For dates with a problem, the
    canary then reads the platform's log of the requests to it, and its errors. Default: none.
    """
    dead_letters: str | None
    """DEAD_LETTERS: A pull subscription to the topic of its dead letters. For dates with a problem,
    the canary reads which messages are there, and takes none away. Default: none.
    """
    pubsub_emulator: str | None
    """PUBSUB_EMULATOR_HOST: Host and port of a Pub/Sub emulator. Default: Google's Pub/Sub."""
    service: str | None
    """K_SERVICE: Set by Cloud Run: the embedded stores are refused there, and the answer to a probe
    has it. Default: none.
    """
    revision: str | None
    """K_REVISION: Set by Cloud Run: each checkpoint has it, and the answer to a probe. Default:
    none.
    """
    colours: bool
    """NO_COLOR: Any value: no colours in a terminal. Default: colours where there is a terminal."""
    credentials_are_a_key: bool = False
    """GOOGLE_APPLICATION_CREDENTIALS: The path of a key, for Google's libraries. The key itself is
    refused, because they show it in their errors. Default: the machine's account.
    """
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
    """Return a number of bytes, by default 1 GiB; raises ConfigurationError for anything else."""
    if not re.fullmatch(r"[0-9]{0,15}", value.strip()):
        raise ConfigurationError(
            f"{name}: expected a number of bytes such as 1073741824, got {value[:40]!r}"
        )
    return int(value.strip() or MAXIMUM_BYTES_BILLED)


def read_switch(name: str, value: str) -> bool:
    """Return whether the variable `name` is on, as it is when empty.

    Raises ConfigurationError for anything but the known words.
    """
    position = value.strip().lower()
    if position in _ON:
        return True
    if position in _OFF:
        return False
    raise ConfigurationError(f"{name}: expected true or false, got {value!r}")
