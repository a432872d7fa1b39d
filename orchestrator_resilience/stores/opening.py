"""Which stores the settings ask for."""

from collections.abc import Mapping

from orchestrator_resilience.errors import ConfigurationError
from orchestrator_resilience.phase import Phase
from orchestrator_resilience.settings import Settings
from orchestrator_resilience.stores.base import Stores
from orchestrator_resilience.stores.embedded import EmbeddedStores


def open_stores(
    settings: Settings, phases: Mapping[str, Phase], *, must_exist: bool = False
) -> Stores:
    """Open the cloud's stores where GOOGLE_CLOUD_PROJECT is set, else the embedded ones.

    Inside Cloud Run a missing project is a ConfigurationError that names the variable: a local file
    there is gone with the instance, and nobody would know. So is a key where its path should be.
    """
    if settings.project is not None:
        if settings.credentials_are_a_key:
            raise ConfigurationError(
                "GOOGLE_APPLICATION_CREDENTIALS: expected the path of a key, not the key; not shown"
            )
        try:
            # Only here, so that nothing else needs Google's libraries.
            from orchestrator_resilience.stores.cloud import CloudStores  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                f"GOOGLE_CLOUD_PROJECT is set, and {error.name} is not installed: "
                "pip install 'orchestrator-resilience[cloud]'"
            ) from error
        return CloudStores(settings.project, settings, phases)
    if settings.on_cloud_run:
        raise ConfigurationError(
            "GOOGLE_CLOUD_PROJECT is not set, and K_SERVICE is: the embedded stores are refused "
            "inside Cloud Run"
        )
    return EmbeddedStores(settings.data_dir, must_exist=must_exist)
