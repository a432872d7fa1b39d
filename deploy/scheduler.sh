#!/usr/bin/env bash
# A run of the canary every 15 minutes. One that could not tell answers 503 and is tried again within its quarter of
# an hour; an attempt may take longer than the function does, so that its answer is not missed.
set -euo pipefail

uri=$(gcloud functions describe "$CANARY" --region="$REGION" --format='value(serviceConfig.uri)')
verb=create
gcloud scheduler jobs describe "$CANARY" --location="$REGION" --format=none 2>/dev/null && verb=update

gcloud scheduler jobs "$verb" http "$CANARY" --location="$REGION" --schedule='*/15 * * * *' --time-zone=Etc/UTC \
  --uri="$uri" --http-method=POST \
  --oidc-service-account-email="$SCHEDULER_ACCOUNT" --oidc-token-audience="$uri" \
  --attempt-deadline=150s --max-retry-attempts=3 --min-backoff=10s --max-backoff=60s
