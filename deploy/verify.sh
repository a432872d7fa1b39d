#!/usr/bin/env bash
# Is what was deployed invokable, retried and watched? Says of each point whether it holds, and fails if one does not.
set -euo pipefail
source deploy/render.sh

failures=0
expect() {
  if [[ $2 == "$3" ]]; then
    echo "ok: $1"
  else
    echo "FAILED: $1: expected '$2', found '$3'" >&2
    failures=$((failures + 1))
  fi
}

of_function() {
  gcloud functions describe "$1" --region="$REGION" --format="value($2)"
}

invokers() {
  gcloud run services get-iam-policy "$1" --region="$REGION" --flatten='bindings[].members' \
    --filter='bindings.role=roles/run.invoker' --format='value(bindings.members)'
}

of_subscription() {
  gcloud pubsub subscriptions describe "$1" --format="value($2)"
}

of_job() {
  gcloud scheduler jobs describe "$CANARY" --location="$REGION" --format="value($1)"
}

# A run that cannot read a source finds every date UNKNOWN, today's as well, which else would be WAITING.
sees() {
  [[ -n $1 && $1 != "CANARY_RUN failed"* ]] && tr ',' '\n' <<<"$1" | grep -qv ' UNKNOWN$'
}

expect "the orchestrator is up" ACTIVE "$(of_function "$ORCHESTRATOR" state)"
expect "its trigger listens to the topic" "projects/$GOOGLE_CLOUD_PROJECT/topics/$TOPIC" \
  "$(of_function "$ORCHESTRATOR" eventTrigger.pubsubTopic)"
expect "its trigger retries" RETRY_POLICY_RETRY "$(of_function "$ORCHESTRATOR" eventTrigger.retryPolicy)"
expect "its trigger calls as the orchestrator" "$ORCHESTRATOR_ACCOUNT" \
  "$(of_function "$ORCHESTRATOR" eventTrigger.serviceAccountEmail)"
expect "its trigger may invoke it" "serviceAccount:$ORCHESTRATOR_ACCOUNT" \
  "$(invokers "$ORCHESTRATOR" | grep -x "serviceAccount:$ORCHESTRATOR_ACCOUNT")"
trigger=$(of_function "$ORCHESTRATOR" eventTrigger.trigger)
expect "what it cannot take is kept" "projects/$GOOGLE_CLOUD_PROJECT/topics/$DEAD_LETTERS" \
  "$(of_subscription "$(gcloud eventarc triggers describe "$trigger" --format='value(transport.pubsub.subscription)')" \
    deadLetterPolicy.deadLetterTopic)"
expect "the dead letters have a subscription" "projects/$GOOGLE_CLOUD_PROJECT/topics/$DEAD_LETTERS" \
  "$(of_subscription "$DEAD_LETTERS" topic)"

expect "the canary is up" ACTIVE "$(of_function "$CANARY" state)"
expect "the scheduler may invoke it" "serviceAccount:$SCHEDULER_ACCOUNT" \
  "$(invokers "$CANARY" | grep -x "serviceAccount:$SCHEDULER_ACCOUNT")"
expect "the public may not" '' "$(invokers "$CANARY" | grep -x -e allUsers -e allAuthenticatedUsers)"
expect "its job is on" ENABLED "$(of_job state)"
expect "its job calls as the scheduler" "$SCHEDULER_ACCOUNT" "$(of_job httpTarget.oidcToken.serviceAccountEmail)"
expect "its job calls the canary" "$(of_function "$CANARY" serviceConfig.uri)" "$(of_job httpTarget.oidcToken.audience)"

for file in deploy/monitoring/policies/*.json; do
  title=$(title "$(render "$file")")
  expect "the policy '$title' is on" True \
    "$(gcloud alpha monitoring policies list --filter="displayName=\"$title\"" --format='value(enabled)')"
done
if [[ -n $WITNESS_TABLE ]]; then
  expect "the witness writes" ACTIVE "$(of_subscription "$TOPIC-witness" bigqueryConfig.state)"
fi

# The whole way from the scheduler to the log, which also gives the absence policy the data point without which it
# never fires. The job tries a run that could not tell again, so only the last word counts.
since=$(date -u +%Y-%m-%dT%H:%M:%SZ)
gcloud scheduler jobs run "$CANARY" --location="$REGION"
said=''
for _ in {1..24}; do
  sleep 10
  said=$(gcloud logging read "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"$CANARY\"
    AND jsonPayload.run=\"CANARY_RUN\" AND timestamp>=\"$since\"" --limit=1 --format='value(jsonPayload.message)')
  sees "$said" && break
done
expect "the scheduler's call has started a run" yes "$([[ -n $said ]] && echo yes)"
expect "the run could read its sources" yes "$(sees "$said" && echo yes || echo "$said")"
if [[ $said == *UNKNOWN* ]]; then
  echo "WARNING: $said. Until phases.toml has a work_query, a date on which nothing arrives is UNKNOWN." >&2
fi
exit $((failures > 0))
