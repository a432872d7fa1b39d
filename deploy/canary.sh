#!/usr/bin/env bash
# The canary function, and the job that calls it every 15 minutes; nobody else may. A run that could not tell answers
# 503 and is tried again within its quarter of an hour.
source deploy/common.sh

secrets=
[[ ${SLACK_SECRET:-none} == none ]] || secrets+=",SLACK_WEBHOOK_URL=$SLACK_SECRET:latest"
[[ ${HEARTBEAT_SECRET:-none} == none ]] || secrets+=",HEARTBEAT_URL=$HEARTBEAT_SECRET:latest"
# What the platform itself writes down of the orchestrator: who was turned away, and what was given up.
variables=
beside || variables=,PHASE=$PHASE,ORCHESTRATOR_SERVICE=$ORCHESTRATOR,DEAD_LETTERS=$DEAD_LETTERS
if beside && [[ -n $WATCHED_SERVICE ]]; then variables=,PHASE=$PHASE,ORCHESTRATOR_SERVICE=$WATCHED_SERVICE; fi
[[ ${PAGE_URL:-none} == none ]] || variables+=",PAGE_URL=$PAGE_URL"
[[ ${RUNBOOK_URL:-none} == none ]] || variables+=",RUNBOOK_URL=$RUNBOOK_URL"
deploy_function canary "$CANARY" canary "$variables" "$secrets" \
  --service-account="$CANARY_ACCOUNT" --timeout="$RUN_SECONDS" --max-instances=3
may_invoke "$SCHEDULER_ACCOUNT" "$CANARY"

url=$(of_service "$CANARY" status.url)
how=(--schedule='*/15 * * * *' --time-zone=Etc/UTC --uri="$url" --http-method=POST
  --oidc-service-account-email="$SCHEDULER_ACCOUNT" --oidc-token-audience="$url" --attempt-deadline="${RUN_SECONDS}s"
  --max-retry-attempts=3 --min-backoff=10s --max-backoff=60s)
content=$(cksum <<<"${how[*]}" | tr ' ' -)
job() { gcloud scheduler jobs "$1" "${@:2}" --location="$REGION"; }
if ! found=$(job describe "$CANARY" --format='value(description)' 2>/dev/null); then
  patiently 2 job create http "$CANARY" --description="$content" "${how[@]}"
elif [[ $found != "$content" ]]; then
  job update http "$CANARY" --description="$content" "${how[@]}"
fi
