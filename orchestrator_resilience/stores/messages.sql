-- What one message log says, in the columns of the completion log, for phase_status.sql: the table into which a Pub/Sub
-- BigQuery subscription writes every message of the topic (--write-metadata), without any code of ours. GoogleSQL.
--
-- A message was visible from its publication on. What is no JSON, or of another phase, is somebody else's; a body
-- without a phase is the phase's own, as it is for the orchestrator. A message says nothing of the flag.
-- What is in braces is filled in.
SELECT
  '{phase}' AS phase,
  SAFE_CAST(JSON_VALUE(body, '$.game_date') AS DATE) AS game_date,
  JSON_VALUE(body, '$.processor_name') AS processor_name,
  JSON_VALUE(body, '$.status') AS status,
  publish_time AS completed_at,
  publish_time AS inserted_at,
  message_id AS event_id,
  CAST(NULL AS BOOL) AS is_triggered,
  CAST(NULL AS STRING) AS trigger_reason
FROM (
  SELECT message_id, publish_time, {body} AS body
  FROM `{table}`
  WHERE publish_time >= TIMESTAMP_SUB(TIMESTAMP(@since), INTERVAL 1 DAY){partitions}
)
WHERE COALESCE(JSON_VALUE(body, '$.phase'), @message_phase_{number}) = @message_phase_{number}
  AND SAFE_CAST(JSON_VALUE(body, '$.game_date') AS DATE) BETWEEN @since AND @until
  AND JSON_VALUE(body, '$.processor_name') != ''
