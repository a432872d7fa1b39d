"""Checkpoint logging for a fan-in orchestrator; the orchestrator itself is in `orchestrator.py`."""

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

__all__ = [
    "CheckpointLogger",
    "Completion",
    "ConfigurationError",
    "ContentionError",
    "Delivery",
    "DeliveryError",
    "InvalidMessageError",
    "Phase",
    "ResilienceError",
    "Status",
    "StoreError",
    "load_phase",
    "load_phases",
]
