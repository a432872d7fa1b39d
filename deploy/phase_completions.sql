-- The completion log, so that the rights on it can be granted. `canary setup`, which each deployment runs, makes the same
-- table, or adds to an existing one the columns that it lacks.
CREATE TABLE IF NOT EXISTS `{table}` (
  phase STRING NOT NULL,
  game_date DATE NOT NULL,
  processor_name STRING NOT NULL,
  status STRING,
  record_count INT64,
  correlation_id STRING,
  execution_id STRING,
  completed_at TIMESTAMP,
  is_incremental BOOL,
  entities_changed ARRAY<STRING>,
  metadata JSON,
  inserted_at TIMESTAMP,
  event_id STRING,
  is_triggered BOOL,
  trigger_reason STRING
)
PARTITION BY game_date
CLUSTER BY phase, processor_name;
