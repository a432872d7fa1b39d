-- What one message log says, in the columns of the completion log, for phase_status.sql: the table into which a Pub/Sub
-- BigQuery subscription writes every message of the topic (--write-metadata), without any code of ours. GoogleSQL.
--
-- A message was visible from its publication on. What is no JSON, or of another phase, is somebody else's; a body
-- without a phase is the phase's own. Spaces, capitals and a midnight behind the date are read as they are by the
-- orchestrator (completion.py). A message says nothing of the flag.
-- What is in braces is filled in.
SELECT
  '{phase}' AS phase,
  game_date,
  TRIM(JSON_VALUE(body, '$.processor_name')) AS processor_name,
  LOWER(TRIM(JSON_VALUE(body, '$.status'))) AS status,
  publish_time AS completed_at,
  publish_time AS inserted_at,
  message_id AS event_id,
  CAST(NULL AS BOOL) AS is_triggered,
  CAST(NULL AS STRING) AS trigger_reason
FROM (
  SELECT
    *,
    SAFE_CAST(
      REGEXP_REPLACE(TRIM(JSON_VALUE(body, '$.game_date')), r'[T ]00:00(:00(\.0+)?)?(Z|\+00:?00)?$', '') AS DATE
    ) AS game_date
  FROM (
    SELECT message_id, publish_time, {body} AS body
    FROM `{table}`
    WHERE publish_time >= TIMESTAMP_SUB(TIMESTAMP(@since), INTERVAL 1 DAY){partitions}
  )
)
WHERE COALESCE(NULLIF(LOWER(TRIM(JSON_VALUE(body, '$.phase'))), ''), LOWER(@message_phase_{number}))
    = LOWER(@message_phase_{number})
  AND game_date BETWEEN @since AND @until
  AND TRIM(JSON_VALUE(body, '$.processor_name')) != ''
