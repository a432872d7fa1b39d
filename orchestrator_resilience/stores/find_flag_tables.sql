-- The columns of a dataset's tables and views by which one is known that says of each phase and
-- date whether the flag is set. GoogleSQL. What is in braces is filled in.
SELECT table_name, LOWER(column_name) AS column_name, data_type
FROM `{dataset}`.INFORMATION_SCHEMA.COLUMNS
WHERE LOWER(column_name) IN ({names})
ORDER BY table_name
