"""Checkpoint logging for a fan-in orchestrator, and the monitoring orchestrator itself."""

from typing import TYPE_CHECKING

from orchestrator_resilience.completion import Completion, Status
from orchestrator_resilience.errors import (
    ConfigurationError,
    ContentionError,
    DeliveryError,
    InvalidMessageError,
    ResilienceError,
    StoreError,
)
from orchestrator_resilience.logger import CheckpointLogger, Delivery
from orchestrator_resilience.phase import Phase, load_phase, load_phases

if TYPE_CHECKING:
    from orchestrator_resilience.orchestrator import Orchestrator

__all__ = [
    "CheckpointLogger",
    "Completion",
    "ConfigurationError",
    "ContentionError",
    "Delivery",
    "DeliveryError",
    "InvalidMessageError",
    "Orchestrator",
    "Phase",
    "ResilienceError",
    "Status",
    "StoreError",
    "load_phase",
    "load_phases",
]


def __getattr__(name: str) -> object:
    """Load the orchestrator at its first use.

    Code that only leaves checkpoints does without it and its stores.
    """
    if name != "Orchestrator":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from orchestrator_resilience.orchestrator import Orchestrator  # noqa: PLC0415 (see above)

    return Orchestrator
