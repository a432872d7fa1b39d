-- The rows of one completion log, one line for each (phase, date, processor, status). GoogleSQL and
-- SQLite.
--
-- A column that the table does not have is NULL here: no statement, never FALSE. The dates are
-- filtered where the table is read, because that prunes its partitions. Rows may be there twice
-- (inserts are deduplicated at best effort), so nothing here counts them. Spaces and capitals are
-- read as they are by the orchestrator (completion.py). What is in braces is filled in;
-- completion_rows.py makes a summary of each line.
SELECT
  phase,
  game_date,
  processor_name,
  status,
  is_triggered,
  MIN(seen_at) AS first_at,
  MAX(seen_at) AS last_at,
  MIN(visible_at) AS first_visible_at,
  MAX(trigger_reason) AS trigger_reason
FROM (
  SELECT
    phase,
    game_date,
    TRIM(processor_name) AS processor_name,
    LOWER(TRIM(status)) AS status,
    {is_triggered} AS is_triggered,
    {trigger_reason} AS trigger_reason,
    COALESCE(completed_at, inserted_at) AS seen_at,
    COALESCE(inserted_at, completed_at) AS visible_at
  FROM `{table}`
  WHERE game_date BETWEEN @since AND @until
    AND phase IN ({phases})
    AND TRIM(processor_name) != ''{partitions}
)
WHERE seen_at IS NOT NULL
GROUP BY phase, game_date, processor_name, status, is_triggered
