"""Each query that is sent to BigQuery passes GoogleSQL's own analyzer.

The emulator takes more than BigQuery does. One test, because the analyzer takes half a minute to
start, and each worker would start its own.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

import msgspec
from google.cloud import bigquery
from zetasql.api import Analyzer, CatalogBuilder, TableBuilder  # type: ignore[import-untyped]
from zetasql.api.type_factory import TypeFactory  # type: ignore[import-untyped]
from zetasql.core.exceptions import ServerError  # type: ignore[import-untyped]
from zetasql.types import (  # type: ignore[import-untyped]
    AnalyzerOptions,
    LanguageOptions,
    ProductMode,
    SimpleCatalog,
    SimpleColumn,
    TypeKind,
    ZetaSQLBuiltinFunctionOptions,
)

from orchestrator_resilience import Phase
from orchestrator_resilience.phase import BUNDLED_PHASES
from orchestrator_resilience.stores.bigquery import (
    BigQuery,
    BigQueryCompletionLog,
    BigQueryCounts,
    BigQueryFlagTables,
    BigQueryMessageLogs,
)
from orchestrator_resilience.stores.table_sql import flag_tables_sql
from tests.tables import ADDED_COLUMNS, REAL_COLUMNS, STATUS_COLUMNS

DAY = date(2026, 2, 9)
SUMMARY = [
    ("phase", "STRING"),
    ("game_date", "DATE"),
    ("processor_name", "STRING"),
    ("status", "STRING"),
    *(("is_triggered", "BOOL"), ("first_at", "TIMESTAMP"), ("last_at", "TIMESTAMP")),
    *(("first_visible_at", "TIMESTAMP"), ("trigger_reason", "STRING")),
]
MESSAGES = [
    column for column in SUMMARY if column[0] not in {"phase", "is_triggered", "trigger_reason"}
]
FLAGS = [("game_date", "DATE"), ("is_set", "BOOL"), ("set_at", "TIMESTAMP"), ("reason", "STRING")]
COUNT = [("game_date", "DATE"), ("n", "INT64")]
RUNS = [
    ("processor", "STRING"),
    ("game_date", "DATE"),
    ("started_at", "TIMESTAMP"),
    ("finished_at", "TIMESTAMP"),
    ("status", "STRING"),
]
STANDARD = {"INTEGER": "INT64", "BOOLEAN": "BOOL"}
BY_DATE, BY_INGESTION = bigquery.TimePartitioning(field="game_date"), bigquery.TimePartitioning()

Columns = Sequence[tuple[str, str, str]]


def messages(kind: str) -> Columns:
    names = {"subscription_name": "STRING", "message_id": "STRING", "publish_time": "TIMESTAMP"}
    return [
        (name, kind_, "NULLABLE")
        for name, kind_ in {**names, "data": kind, "attributes": "JSON"}.items()
    ]


class Recorded(BigQuery):
    """Keeps what would be sent; what the tables look like is the emulator's answer."""

    sql = ""
    parameters: Sequence[Any] = ()

    def query_with_columns(
        self, sql: str, parameters: Sequence[Any]
    ) -> tuple[list[str], list[Mapping[str, Any]]]:
        """Answer nothing."""
        self.sql, self.parameters = sql, parameters
        return [name for name, _ in RUNS], []


class GoogleSql:
    """The analyzer, as BigQuery uses it: with its types only."""

    def __init__(self) -> None:
        self.language = LanguageOptions.maximum_features()
        self.language.product_mode = ProductMode.PRODUCT_EXTERNAL

    def analyze(self, tables: Iterable[bigquery.Table], sql: str, parameters: Iterable[Any]) -> Any:
        """Return the columns of the answer with their types, or the analyzer's error."""
        declared = [
            AnalyzerOptions.QueryParameter(name=parameter.name, type=_parameter_type(parameter))
            for parameter in parameters
        ]
        options = AnalyzerOptions(language_options=self.language, query_parameters=declared)
        try:
            statement = Analyzer(options, self._catalog(tables)).analyze_statement(sql)
        except ServerError as error:
            return str(error)
        return [
            (c.name, c.column.type.type_kind.name.removeprefix("TYPE_"))
            for c in statement.output_column_list
        ]

    def _catalog(self, tables: Iterable[bigquery.Table]) -> Any:
        functions = ZetaSQLBuiltinFunctionOptions(language_options=self.language)
        catalog = CatalogBuilder("bigquery").with_builtin_functions(functions)
        datasets: dict[str, Any] = {}
        for table in tables:
            # In backquotes the whole name is one, and without them the dataset is a catalog of its
            # own.
            catalog.add_table(_table(table, str(table.reference)))
            own = datasets.setdefault(table.dataset_id, SimpleCatalog(name=table.dataset_id))
            own.table.append(_table(table, table.table_id))
        built = catalog.build()
        built.catalog.extend(datasets.values())
        return built


def _table(table: bigquery.Table, name: str) -> Any:
    builder = TableBuilder(name)
    for field in table.schema:
        kind = _type(field.field_type)
        builder.add_column(
            field.name, TypeFactory.create_array_type(kind) if field.mode == "REPEATED" else kind
        )
    made = builder.build()
    if table.time_partitioning is not None and table.time_partitioning.field is None:
        pseudo = SimpleColumn(name="_PARTITIONTIME", type=_type("TIMESTAMP"), is_pseudo_column=True)
        made.column.append(pseudo)
    return made


def _type(name: str) -> Any:
    return TypeFactory.create_simple_type(TypeKind[f"TYPE_{STANDARD.get(name, name)}"])


def _parameter_type(parameter: Any) -> Any:
    if isinstance(parameter, bigquery.ArrayQueryParameter):
        return TypeFactory.create_array_type(_type(str(parameter.array_type)))
    return _type(parameter.type_)


def make(
    dataset: BigQuery, name: str, columns: Columns, partitions: bigquery.TimePartitioning | None
) -> bigquery.Table:
    table = bigquery.Table(
        f"{dataset.project}.{name}", [bigquery.SchemaField(*column) for column in columns]
    )
    table.time_partitioning = partitions
    dataset.client.create_table(table)
    return table


def example_queries() -> dict[str, str]:
    """Return the queries that the bundled phases.toml has in comments."""
    text = BUNDLED_PHASES.read_text("utf-8")
    found = re.findall(
        r'^# (?:outcome|work|runs)_query = """\n(?:# .*\n)*?# .*"""$', text, re.MULTILINE
    )
    queries: dict[str, str] = tomllib.loads(
        "\n".join(re.sub("^# ", "", one, flags=re.MULTILINE) for one in found)
    )
    return queries


def completion_logs(dataset: BigQuery) -> dict[str, bigquery.Table]:
    """Make what `bigquery_table` may name."""
    found = {
        "twelve columns": make(dataset, "nba_orchestration.twelve", REAL_COLUMNS, BY_DATE),
        "fifteen columns": make(
            dataset, "nba_orchestration.fifteen", [*REAL_COLUMNS, *ADDED_COLUMNS], BY_DATE
        ),
        "by ingestion": make(dataset, "nba_orchestration.by_ingestion", REAL_COLUMNS, BY_INGESTION),
    }
    dataset.query(
        "CREATE VIEW nba_orchestration.a_view AS SELECT * FROM nba_orchestration.twelve", []
    )
    return {
        **found,
        "a view": dataset.client.get_table(f"{dataset.project}.nba_orchestration.a_view"),
    }


def message_logs(dataset: BigQuery) -> dict[str, bigquery.Table]:
    """Make what `message_table` may name."""
    return {
        kind: make(dataset, f"nba_orchestration.messages_{kind}", messages(kind), BY_INGESTION)
        for kind in ("BYTES", "STRING", "JSON")
    }


def flag_tables(dataset: BigQuery) -> dict[str, bigquery.Table]:
    """Make what `flag_table` may name."""
    smallest = [
        column for column in STATUS_COLUMNS if column[0] in {"phase", "game_date", "is_triggered"}
    ]
    odd = [
        (name, "INTEGER" if name.startswith("trigger") else kind, mode)
        for name, kind, mode in STATUS_COLUMNS
    ]
    return {
        "as it is": make(dataset, "nba_orchestration.status", STATUS_COLUMNS, None),
        "by date": make(dataset, "nba_orchestration.status_by_date", STATUS_COLUMNS, BY_DATE),
        "status by ingestion": make(
            dataset, "nba_orchestration.status_by_ingestion", smallest, BY_INGESTION
        ),
        "of other types": make(dataset, "nba_orchestration.odd_status", odd, None),
    }


def test_every_query_passes_the_analyzer(dataset: BigQuery, phase: Phase) -> None:
    """Queries on every kind of table and the examples pass; an unknown name does not."""
    their_runs = [
        bigquery.SchemaField("processor_name", "STRING"),
        bigquery.SchemaField("data_date", "DATE"),
        bigquery.SchemaField("started_at", "TIMESTAMP"),
        bigquery.SchemaField("status", "STRING"),
    ]
    recorded, analyzer = Recorded(dataset.project, emulated=True), GoogleSql()
    logs, topics, flags = completion_logs(dataset), message_logs(dataset), flag_tables(dataset)
    for name, table in {**logs, **topics, **flags}.items():
        named = str(table.reference)
        phases = {
            "phase2": msgspec.structs.replace(phase, bigquery_table=named, message_table=named)
        }
        phases["phase3"] = msgspec.structs.replace(phases["phase2"], name="phase3")
        if name in logs:
            BigQueryCompletionLog(recorded, phases).summarise(phases, DAY, DAY)
        elif name in topics:
            BigQueryMessageLogs(recorded, phases).summarise("phase2", DAY, DAY)
        else:
            BigQueryFlagTables(recorded, phases).read(named, "phase2", DAY, DAY)
        expected = SUMMARY if name in logs else MESSAGES if name in topics else FLAGS
        assert analyzer.analyze([table], recorded.sql, recorded.parameters) == expected, name
        assert ("_PARTITIONTIME >=" in recorded.sql) == (name in topics or "by ingestion" in name)

    columns = [
        bigquery.SchemaField(name, "STRING") for name in ("table_name", "column_name", "data_type")
    ]
    schema = bigquery.Table(f"{dataset.project}.nba_orchestration.COLUMNS", columns)
    # a name of three parts
    search = flag_tables_sql("x.y").replace("`x.y`.INFORMATION_SCHEMA", "nba_orchestration")
    assert analyzer.analyze([schema], search, []) == [(field.name, "STRING") for field in columns]

    queries = example_queries()
    runs = queries.pop("runs_query")
    assert set(queries) == {"outcome_query", "work_query"}
    outputs = [
        bigquery.Table(f"{dataset.project}.{table}", [bigquery.SchemaField("game_date", "DATE")])
        for table in ("nba_analytics.player_game_summary", "nba_raw.nbac_schedule")
    ]
    for query in queries.values():
        BigQueryCounts(recorded).count(query, DAY, DAY)
        assert analyzer.analyze(outputs, recorded.sql, recorded.parameters) == COUNT

    BigQueryCounts(recorded).runs(runs, DAY, DAY)
    table = bigquery.Table(f"{dataset.project}.nba_orchestration.processor_runs", their_runs)
    assert analyzer.analyze([table], recorded.sql, recorded.parameters) == RUNS

    BigQueryCounts(recorded).count(queries["work_query"], DAY, DAY)
    wrong = recorded.sql.replace("COUNT(*)", "nobody")
    assert "Unrecognized name: nobody" in analyzer.analyze(outputs, wrong, recorded.parameters)
    recorded.close()
