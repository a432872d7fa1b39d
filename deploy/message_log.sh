#!/usr/bin/env bash
# Optional: Pub/Sub itself writes every message of the topic into a table, without any code of this
# project.
source deploy/common.sh

if [[ -z $MESSAGE_TABLE ]]; then
  echo "$PHASES names no message_table: no message log"
  exit
fi
[[ $MESSAGE_TABLE == *.*.* ]] || MESSAGE_TABLE=$GOOGLE_CLOUD_PROJECT.$MESSAGE_TABLE
wanted="bigqueryConfig.table=$MESSAGE_TABLE
bigqueryConfig.writeMetadata=True
messageRetentionDuration=604800s"
subscription "$MESSAGE_LOG" "$TOPIC" "$wanted" --bigquery-table="$MESSAGE_TABLE" --write-metadata \
  --message-retention-duration=7d --expiration-period=never
