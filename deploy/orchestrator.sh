#!/usr/bin/env bash
# The topic, the orchestrator function, and the right of its trigger to invoke it.
set -euo pipefail
source deploy/function.sh

gcloud pubsub topics describe "$TOPIC" --format=none 2>/dev/null || gcloud pubsub topics create "$TOPIC"

variables="GOOGLE_CLOUD_PROJECT=$GOOGLE_CLOUD_PROJECT,PHASE=$PHASE"
variables+="${PHASES_FILE:+,PHASES_FILE=$PHASES_FILE}${BIGQUERY_LOCATION:+,BIGQUERY_LOCATION=$BIGQUERY_LOCATION}"

# The trigger is described anew by each deployment: without --retry, a delivery that fails would be dropped.
deploy_function orchestrator "$ORCHESTRATOR" --entry-point=orchestrate \
  --trigger-topic="$TOPIC" --trigger-location="$REGION" --trigger-service-account="$ORCHESTRATOR_ACCOUNT" --retry \
  --run-service-account="$ORCHESTRATOR_ACCOUNT" --set-env-vars="$variables" --timeout=540s

gcloud run services add-iam-policy-binding "$ORCHESTRATOR" --region="$REGION" \
  --member="serviceAccount:$ORCHESTRATOR_ACCOUNT" --role=roles/run.invoker --format=none
