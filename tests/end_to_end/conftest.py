"""What the tests of whole processes share."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from tests import topics


@pytest.fixture
def pushing_topic() -> Callable[[str, str], AbstractContextManager[Callable[..., None]]]:
    """Return what makes the topic of a project, pushing to an endpoint, and yields a publisher."""
    return topics.pushing_topic
