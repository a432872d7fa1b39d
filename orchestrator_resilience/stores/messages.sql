-- What one message log says, in the columns of completions.sql: the table into which a Pub/Sub
-- BigQuery subscription writes every message of the topic (--write-metadata), without any code of
-- ours. GoogleSQL.
--
-- A message was visible from its publication on. What is no JSON, or of another phase, is somebody
-- else's; a body without a phase is the phase's own. Spaces, capitals and a midnight behind the
-- date are read as they are by the orchestrator (completion.py). A name or a date that cannot be
-- read is empty: the message may be anybody's, of any date, and those of each day are a line of
-- their own. What is in braces is filled in.
SELECT
  game_date,
  COALESCE(TRIM(JSON_VALUE(body, '$.processor_name')), '') AS processor_name,
  LOWER(TRIM(JSON_VALUE(body, '$.status'))) AS status,
  MIN(publish_time) AS first_at,
  MAX(publish_time) AS last_at,
  MIN(publish_time) AS first_visible_at
FROM (
  SELECT
    *,
    SAFE_CAST(
      REGEXP_REPLACE(
        TRIM(JSON_VALUE(body, '$.game_date')), r'[T ]00:00(:00(\.0+)?)?(Z|\+00:?00)?$', ''
      ) AS DATE
    ) AS game_date
  FROM (
    SELECT publish_time, {body} AS body
    FROM `{table}`
    WHERE publish_time >= TIMESTAMP_SUB(TIMESTAMP(@since), INTERVAL 1 DAY){partitions}
  )
)
WHERE COALESCE(NULLIF(LOWER(TRIM(JSON_VALUE(body, '$.phase'))), ''), LOWER(@message_phase))
    = LOWER(@message_phase)
  AND JSON_TYPE(body) = 'object'
  AND COALESCE(game_date, @since) BETWEEN @since AND @until
GROUP BY game_date, processor_name, status, IF(game_date IS NULL, DATE(publish_time), NULL)
