#!/usr/bin/env bash
# The canary function, and the right of the scheduler to invoke it; nobody else has it.
set -euo pipefail
source deploy/function.sh

variables="GOOGLE_CLOUD_PROJECT=$GOOGLE_CLOUD_PROJECT"
variables+="${PHASES_FILE:+,PHASES_FILE=$PHASES_FILE}${BIGQUERY_LOCATION:+,BIGQUERY_LOCATION=$BIGQUERY_LOCATION}"
secrets=
[[ ${SLACK_SECRET:-none} == none ]] || secrets+=",SLACK_WEBHOOK_URL=$SLACK_SECRET:latest"
[[ ${HEARTBEAT_SECRET:-none} == none ]] || secrets+=",HEARTBEAT_URL=$HEARTBEAT_SECRET:latest"
secrets="${secrets:+--set-secrets=${secrets#,}}"

deploy_function canary "$CANARY" --entry-point=canary \
  --trigger-http --no-allow-unauthenticated \
  --run-service-account="$CANARY_ACCOUNT" --set-env-vars="$variables" "${secrets:---clear-secrets}" --timeout=120s

gcloud run services add-iam-policy-binding "$CANARY" --region="$REGION" \
  --member="serviceAccount:$SCHEDULER_ACCOUNT" --role=roles/run.invoker --format=none
