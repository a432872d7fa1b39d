"""The heartbeat: a dead-man's switch outside the cloud project, called after each run that judged.

What listens there (healthchecks and the like) rings when it has heard nothing for a while: it is
the one alarm that does not depend on this project's own Monitoring.
"""

from canary.notify.webhook import Webhook
from orchestrator_resilience.deadline import Deadline
from orchestrator_resilience.http_calls import NoAnswer


class Heartbeat:
    """Asks for the page at `url`, a secret, for up to `seconds`.

    Raises ConfigurationError where `url` is no address.
    """

    def __init__(self, url: str, *, seconds: float = 5.0) -> None:
        self._webhook, self._seconds = Webhook("HEARTBEAT_URL", url), seconds

    def beat(self) -> str | None:
        """Say that a run has ended without a failure.

        Returns why the heartbeat was not heard, without the address; None where the answer is 2xx.
        """
        answer = self._webhook.request(Deadline(self._seconds))
        if not isinstance(answer, NoAnswer) and answer.status in range(200, 300):
            return None
        why = answer.kind if isinstance(answer, NoAnswer) else f"HTTP {answer.status}"
        return f"the heartbeat was not heard: {why}"
