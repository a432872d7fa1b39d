#!/usr/bin/env bash
# One account each for what runs, with the roles that its code needs and no other; docs/deploy.md says why.
set -euo pipefail

account() {
  gcloud iam service-accounts describe "$1" --format=none 2>/dev/null && return
  gcloud iam service-accounts create "${1%%@*}" --display-name="$2"
  sleep 15 # a new account is not known everywhere at once, and a binding for it would be refused
}

on_project() {
  gcloud projects add-iam-policy-binding "$GOOGLE_CLOUD_PROJECT" \
    --member="serviceAccount:$1" --role="$2" --condition=None --format=none
}

# BigQuery's own statement: gcloud cannot grant on a table.
on_bigquery() {
  bq --project_id="$GOOGLE_CLOUD_PROJECT" ${BIGQUERY_LOCATION:+--location="$BIGQUERY_LOCATION"} \
    query --use_legacy_sql=false "GRANT \`$2\` ON $3 \`$4\` TO \"serviceAccount:$1\""
}

account "$ORCHESTRATOR_ACCOUNT" "Registers completions; invoked by Pub/Sub"
account "$CANARY_ACCOUNT" "Compares what should have happened with what did"
account "$SCHEDULER_ACCOUNT" "Calls the canary"

on_project "$ORCHESTRATOR_ACCOUNT" roles/datastore.user
on_bigquery "$ORCHESTRATOR_ACCOUNT" roles/bigquery.dataEditor TABLE "$TABLE"

on_project "$CANARY_ACCOUNT" roles/datastore.user
on_project "$CANARY_ACCOUNT" roles/logging.viewer
on_project "$CANARY_ACCOUNT" roles/bigquery.jobUser
for dataset in ${CANARY_DATASETS//,/ }; do
  on_bigquery "$CANARY_ACCOUNT" roles/bigquery.dataViewer SCHEMA "$dataset"
done
for secret in $SLACK_SECRET $HEARTBEAT_SECRET; do
  [[ $secret == none ]] && continue
  gcloud secrets add-iam-policy-binding "$secret" \
    --member="serviceAccount:$CANARY_ACCOUNT" --role=roles/secretmanager.secretAccessor --format=none
done
