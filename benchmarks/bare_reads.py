"""The floor of `canary check`: the same reads with Google's clients, at the same time.

Usage: `python -m benchmarks.bare_reads FIRST LAST`.
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from typing import Any

from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery, firestore

_PROJECT = os.environ["GOOGLE_CLOUD_PROJECT"]
_OWN = (
    ("canary_people", "all"),
    ("canary_memory", "canary"),
    ("canary_memory", "canary:phase2:2026-02"),
)


def documents(dates: list[date]) -> list[Any]:
    """Read the documents of the dates, and three more, in one batch."""
    client = firestore.Client(project=_PROJECT)
    refs = [client.collection("phase2_completion").document(str(day)) for day in dates]
    refs += [client.collection(collection).document(name) for collection, name in _OWN]
    return [one.to_dict() for one in client.get_all(refs)]


def rows(dates: list[date]) -> list[Any]:
    """Read what the query that the canary sends says of the dates."""
    client = bigquery.Client(project=_PROJECT, credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]
    window = {"since": dates[0], "until": dates[-1]}
    parameters = [bigquery.ScalarQueryParameter(name, "DATE", day) for name, day in window.items()]
    config = bigquery.QueryJobConfig(query_parameters=parameters)
    return list(client.query_and_wait(os.environ["QUERY"], job_config=config))


def main() -> None:
    """Read both, and say how much there was."""
    first, last = map(date.fromisoformat, sys.argv[1:])
    dates = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    with ThreadPoolExecutor(2) as threads:
        found = [threads.submit(read, dates) for read in (documents, rows)]
    print([len(one.result()) for one in found])


if __name__ == "__main__":
    main()
