#!/usr/bin/env bash
# The canary function, and the job that calls it every 15 minutes; nobody else may. A run that could
# not tell answers 503 and is tried again within its quarter of an hour.
source deploy/common.sh

secrets=
# The latest, because a webhook that was revoked has to be replaced without a deployment.
if has "$SLACK_SECRET"; then secrets+=",SLACK_WEBHOOK_URL=$SLACK_SECRET:latest"; fi
if has "$HEARTBEAT_SECRET"; then secrets+=",HEARTBEAT_URL=$HEARTBEAT_SECRET:latest"; fi
variables=$(reader_variables)
letters=$DEAD_LETTERS # what Pub/Sub gave up
if beside; then letters=$WATCHED_DEAD_LETTERS; fi
if has "$letters"; then variables+=,DEAD_LETTERS=$letters; fi
if has "$PAGE" && [[ -z $PAGE_URL ]]; then PAGE_URL=$(of_service "$PAGE" status.url); fi
if has "$PAGE_URL"; then variables+=,PAGE_URL=$PAGE_URL; fi
deploy_function canary "$CANARY" canary "$variables" "$secrets" \
  --service-account="$CANARY_ACCOUNT" --timeout="$RUN_SECONDS" --max-instances=3
may_invoke "$SCHEDULER_ACCOUNT" "$CANARY"

url=$(of_service "$CANARY" status.url)
# Tried again after 2 minutes and after 6: by then the receipt of a run that died is old enough to
# be taken over (4 minutes), and with RUN_SECONDS for each, all three are over before the next
# quarter of an hour.
wanted="schedule=*/15 * * * *
timeZone=Etc/UTC
httpTarget.uri=$url/
httpTarget.httpMethod=POST
httpTarget.oidcToken.serviceAccountEmail=$SCHEDULER_ACCOUNT
httpTarget.oidcToken.audience=$url
attemptDeadline=${RUN_SECONDS}s
retryConfig.retryCount=2
retryConfig.minBackoffDuration=120s
retryConfig.maxBackoffDuration=240s"
how=(--schedule='*/15 * * * *' --time-zone=Etc/UTC --uri="$url/" --http-method=POST
  --oidc-service-account-email="$SCHEDULER_ACCOUNT" --oidc-token-audience="$url"
  --attempt-deadline="${RUN_SECONDS}s"
  --max-retry-attempts=2 --min-backoff=120s --max-backoff=240s)
job() { gcloud scheduler jobs "$@" --location="$REGION"; }
if ! job describe "$CANARY" --format=none 2>/dev/null; then
  patiently 2 job create http "$CANARY" --description="$MARK" "${how[@]}"
elif ! is_as "$wanted" job describe "$CANARY"; then
  job update http "$CANARY" "${how[@]}"
fi
