"""Checkpoint logging for a fan-in orchestrator, and the monitoring orchestrator itself."""

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
from orchestrator_resilience.orchestrator import Orchestrator
from orchestrator_resilience.phase import Phase, load_phase, load_phases

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
