-- The message log: what Pub/Sub's BigQuery subscription writes with --write-metadata. `data` is the message as it was
-- sent, in BYTES, because one that is not JSON has to be kept as well.
CREATE TABLE IF NOT EXISTS `{table}` (
  subscription_name STRING,
  message_id STRING,
  publish_time TIMESTAMP,
  data BYTES,
  attributes JSON
)
PARTITION BY DATE(publish_time)
OPTIONS (partition_expiration_days = 60);

GRANT `roles/bigquery.dataEditor` ON TABLE `{table}` TO "serviceAccount:{agent}";
