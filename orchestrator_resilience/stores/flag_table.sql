-- What one flag table says, in the columns of the completion log, for phase_status.sql: the table in which an older
-- tracker keeps one row for each phase and date. GoogleSQL.
--
-- The name of the processor is empty, because nothing is said of a completion. A date without a row, and a row that does
-- not say whether the flag is set, are no statement.
-- What is in braces is filled in; a column that the table does not have is NULL.
SELECT
  phase,
  game_date,
  '' AS processor_name,
  CAST(NULL AS STRING) AS status,
  IF(is_triggered, {triggered_at}, NULL) AS completed_at,
  CAST(NULL AS TIMESTAMP) AS inserted_at,
  CAST(NULL AS STRING) AS event_id,
  is_triggered,
  {trigger_reason} AS trigger_reason
FROM `{table}`
WHERE phase = '{phase}'
  AND game_date BETWEEN @since AND @until
  AND is_triggered IS NOT NULL{partitions}
