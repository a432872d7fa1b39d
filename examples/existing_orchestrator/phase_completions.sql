-- The completion log as the tracker of February 2026 made it.
CREATE TABLE nba_orchestration.phase_completions (
  phase STRING NOT NULL,
  game_date DATE NOT NULL,
  processor_name STRING NOT NULL,
  status STRING NOT NULL,
  record_count INT64,
  correlation_id STRING,
  execution_id STRING,
  completed_at TIMESTAMP NOT NULL,
  is_incremental BOOL,
  entities_changed ARRAY<STRING>,
  metadata JSON,
  inserted_at TIMESTAMP NOT NULL
)
PARTITION BY game_date
CLUSTER BY phase, processor_name;
