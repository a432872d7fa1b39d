-- What the completion log says, one row per (phase, game date, processor name). GoogleSQL.
--
-- Parameters: phases ARRAY<STRING>; since and until DATE, both included, which prune the partitions;
-- completing ARRAY<STRING>, the statuses that complete a processor.
--
-- Rows may be there twice (inserts are deduplicated at best effort), so nothing here counts rows.
-- What FROM reads is a UNION ALL of the phases' tables (completions.sql), and of what their message tables say
-- (messages.sql). is_triggered is NULL where no row makes a statement.
SELECT
  phase,
  game_date,
  processor_name,
  ARRAY_AGG(status ORDER BY COALESCE(completed_at, inserted_at) DESC, event_id DESC LIMIT 1)[SAFE_OFFSET(0)]
    AS last_status,
  MAX(COALESCE(completed_at, inserted_at)) AS last_completed_at,
  MIN(IF(status IN UNNEST(@completing), COALESCE(completed_at, inserted_at), NULL)) AS first_completed_at,
  MIN(IF(status IN UNNEST(@completing), COALESCE(inserted_at, completed_at), NULL)) AS first_visible_at,
  LOGICAL_OR(is_triggered) AS is_triggered,
  MAX(trigger_reason) AS trigger_reason
FROM {source}
WHERE phase IN UNNEST(@phases)
  AND COALESCE(completed_at, inserted_at) IS NOT NULL
  AND processor_name IS NOT NULL
GROUP BY phase, game_date, processor_name
ORDER BY phase, game_date, processor_name
