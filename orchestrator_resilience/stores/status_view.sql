-- The status of one phase's dates, computed from the completion log; `canary setup --status-view` makes a view of it for
-- those who read the table of an older tracker. GoogleSQL, without parameters: a view has none.
--
-- Only expected processors count, each once, under whichever of their names they came; a row of the flag (is_triggered
-- TRUE) completes nobody. What nobody has said is NULL, as `mode` of an older tracker is here.
-- What is in braces is filled in, the expected processors of each date as they are when the view is made: one whose time
-- it is not is NULL among them.
SELECT
  '{phase}' AS phase,
  game_date,
  is_triggered,
  triggered_at,
  trigger_reason,
  (SELECT COUNT(DISTINCT one) FROM UNNEST(completed) AS one) AS completed_count,
  (SELECT COUNT(one) FROM UNNEST([{expected}]) AS one) AS expected_count,
  ARRAY(SELECT DISTINCT one FROM UNNEST(completed) AS one WHERE one IS NOT NULL ORDER BY one) AS completed_processors,
  ARRAY(
    SELECT one FROM UNNEST([{expected}]) AS one
    WHERE one IS NOT NULL AND NOT EXISTS (SELECT 1 FROM UNNEST(completed) AS done WHERE done = one)
    ORDER BY one
  ) AS missing_processors,
  CAST(NULL AS STRING) AS mode
FROM (
  SELECT
    game_date,
    LOGICAL_OR(is_triggered) AS is_triggered,
    MIN(IF(is_triggered, seen_at, NULL)) AS triggered_at,
    MAX(IF(is_triggered, trigger_reason, NULL)) AS trigger_reason,
    ARRAY_AGG(IF(NOT COALESCE(is_triggered, FALSE) AND status IN ({completing}), processor, NULL)) AS completed
  FROM (
    SELECT
      *,
      COALESCE(completed_at, inserted_at) AS seen_at,
      CASE{names}
      END AS processor
    FROM `{table}`
    WHERE phase = '{phase}'
  )
  GROUP BY game_date
)
