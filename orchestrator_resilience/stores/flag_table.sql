-- What one flag table says: the table in which an older tracker keeps one row for each phase and
-- date. GoogleSQL.
--
-- A date without a row, and a row that does not say whether the flag is set, are no statement. Rows
-- may be there twice. What is in braces is filled in; a column that the table does not have is
-- NULL.
SELECT
  game_date,
  LOGICAL_OR(is_triggered) AS is_set,
  MIN(IF(is_triggered, {triggered_at}, NULL)) AS set_at,
  MAX(IF(is_triggered, {trigger_reason}, NULL)) AS reason
FROM `{table}`
WHERE phase = @phase
  AND game_date BETWEEN @since AND @until
  AND is_triggered IS NOT NULL{partitions}
GROUP BY game_date
