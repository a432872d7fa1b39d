-- The rows of one completion log, for phase_status.sql. GoogleSQL.
--
-- A column that the table does not have is NULL here: no statement, never FALSE. The dates are filtered here and not
-- where the tables are put together, because a table may require a filter on its partitions.
-- What is in braces is filled in.
SELECT
  phase,
  game_date,
  processor_name,
  status,
  completed_at,
  inserted_at,
  {event_id} AS event_id,
  {is_triggered} AS is_triggered,
  {trigger_reason} AS trigger_reason
FROM `{table}`
WHERE game_date BETWEEN @since AND @until
  AND processor_name != ''
  AND COALESCE(completed_at, inserted_at) IS NOT NULL{partitions}
