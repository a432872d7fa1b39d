"""The DDL agrees with `canary setup`, and with what Pub/Sub writes."""

import re

from orchestrator_resilience import Phase
from orchestrator_resilience.stores.bigquery import BigQuery, BigQueryCompletionLog
from tests.deploy.transcripts import ROOT


def statements(file: str) -> list[str]:
    text = (ROOT / "deploy" / file).read_text("utf-8")
    return [
        one
        for one in re.split(r";\n", re.sub(r"^--.*\n", "", text, flags=re.MULTILINE))
        if one.strip()
    ]


def declared(statement: str) -> list[tuple[str, str, str]]:
    """Return the columns of a CREATE TABLE as the API names them.

    The emulator forgets which one is JSON.
    """
    legacy = {"INT64": "INTEGER", "BOOL": "BOOLEAN"}
    found = []
    for name, kind, required in re.findall(
        r"^  (\w+) ([A-Z0-9<>]+)( NOT NULL)?,?$", statement, re.MULTILINE
    ):
        item = kind.removeprefix("ARRAY<").removesuffix(">")
        mode = "REPEATED" if item != kind else "REQUIRED" if required else "NULLABLE"
        found.append((name, legacy.get(item, item), mode))
    return found


def made(dataset: BigQuery, statement: str, name: str) -> list[str]:
    """Run a statement twice; returns the names of the table's columns."""
    for _ in range(2):
        dataset.query(statement, [])
    return [field.name for field in dataset.client.get_table(f"{dataset.project}.{name}").schema]


def test_the_ddl_makes_what_setup_makes(dataset: BigQuery, phase: Phase) -> None:
    """The same columns, partitions and clusters."""
    name = f"{dataset.project}.{phase.bigquery_table}"
    BigQueryCompletionLog(dataset, {"phase2": phase}).setup()
    by_setup = dataset.client.get_table(name)
    dataset.client.delete_table(name)
    (table,) = (
        one.replace("{table}", phase.bigquery_table) for one in statements("phase_completions.sql")
    )
    assert declared(table) == [
        (field.name, field.field_type, field.mode) for field in by_setup.schema
    ]
    assert made(dataset, table, phase.bigquery_table) == [field.name for field in by_setup.schema]
    assert f"PARTITION BY {by_setup.time_partitioning.field}\n" in table
    assert f"CLUSTER BY {', '.join(by_setup.clustering_fields)}" in table


def test_the_message_log_has_the_columns_that_pubsub_writes(dataset: BigQuery) -> None:
    """As documented for a BigQuery subscription that uses no schema and writes metadata."""
    create, grant = statements("message_log.sql")
    columns = declared(create)
    assert columns == [
        ("subscription_name", "STRING", "NULLABLE"),
        ("message_id", "STRING", "NULLABLE"),
        ("publish_time", "TIMESTAMP", "NULLABLE"),
        ("data", "BYTES", "NULLABLE"),
        ("attributes", "JSON", "NULLABLE"),
    ]
    name = "nba_orchestration.phase_messages"
    assert made(dataset, create.replace("{table}", name), name) == [
        column for column, *_ in columns
    ]
    assert (
        grant.strip()
        == 'GRANT `roles/bigquery.dataEditor` ON TABLE `{table}` TO "serviceAccount:{agent}"'
    )
