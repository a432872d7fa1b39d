-- What the completion log says, one row per (phase, game date, processor name). GoogleSQL.
--
-- Parameters: phases ARRAY<STRING>; since and until DATE, both included, which prune the partitions;
-- completing ARRAY<STRING>, the statuses that complete a processor.
--
-- Rows may be there twice (inserts are deduplicated at best effort), so nothing here counts rows. A row of the flag
-- (is_triggered TRUE) enters no status and no time of a processor. is_triggered is NULL where no row makes a statement.
-- What FROM reads is a UNION ALL of the phases' tables (completions.sql), of what their message tables say
-- (messages.sql), and of what their flag tables say (flag_table.sql), whose rows name nobody.
SELECT
  phase,
  game_date,
  processor_name,
  IF(
    LOGICAL_AND(is_flag),
    NULL,
    ARRAY_AGG(status ORDER BY is_flag, seen_at DESC, event_id DESC LIMIT 1)[SAFE_OFFSET(0)]
  ) AS last_status,
  MAX(IF(is_flag, NULL, seen_at)) AS last_completed_at,
  MIN(IF(NOT is_flag AND status IN UNNEST(@completing), seen_at, NULL)) AS first_completed_at,
  MIN(IF(NOT is_flag AND status IN UNNEST(@completing), COALESCE(inserted_at, seen_at), NULL)) AS first_visible_at,
  LOGICAL_OR(is_triggered) AS is_triggered,
  MIN(IF(is_flag, seen_at, NULL)) AS triggered_at,
  MAX(trigger_reason) AS trigger_reason
FROM (
  SELECT *, COALESCE(completed_at, inserted_at) AS seen_at, COALESCE(is_triggered, FALSE) AS is_flag
  FROM {source}
  WHERE phase IN UNNEST(@phases)
)
GROUP BY phase, game_date, processor_name
ORDER BY phase, game_date, processor_name
