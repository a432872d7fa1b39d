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

public() {
  invokers "$1" | grep -x -e allUsers -e allAuthenticatedUsers
}

# What a policy watches and whom it notifies, from its file or as gcloud prints it. A channel's id is enough: the
# project before it may be a name or a number.
watched() {
  grep -oE '"filter": ".*"|notificationChannels/[^"]+' | sort
}

# Only COULD_NOT_TELL is unreadable: a run that is UNDECIDED has read everything.
sees() {
  [[ -n $1 && $1 != COULD_NOT_TELL* ]]
}

expect "the orchestrator is up" ACTIVE "$(of_function "$ORCHESTRATOR" state)"
expect "its trigger listens to the topic" "projects/$GOOGLE_CLOUD_PROJECT/topics/$TOPIC" \
  "$(of_function "$ORCHESTRATOR" eventTrigger.pubsubTopic)"
expect "its trigger retries" RETRY_POLICY_RETRY "$(of_function "$ORCHESTRATOR" eventTrigger.retryPolicy)"
expect "its trigger calls as the orchestrator" "$ORCHESTRATOR_ACCOUNT" \
  "$(of_function "$ORCHESTRATOR" eventTrigger.serviceAccountEmail)"
expect "its trigger may invoke it" "serviceAccount:$ORCHESTRATOR_ACCOUNT" \
  "$(invokers "$ORCHESTRATOR" | grep -x "serviceAccount:$ORCHESTRATOR_ACCOUNT")"
expect "the public may not invoke the orchestrator" '' "$(public "$ORCHESTRATOR")"
expect "all traffic goes to the latest orchestrator" True \
  "$(of_function "$ORCHESTRATOR" serviceConfig.allTrafficOnLatestRevision)"
# Without it Pub/Sub cannot sign the deliveries, and gcloud only warns of that.
expect "Pub/Sub may call as the trigger's account (else run deploy/bootstrap.sh)" "serviceAccount:$PUBSUB_AGENT" \
  "$(gcloud projects get-iam-policy "$GOOGLE_CLOUD_PROJECT" --flatten='bindings[].members' \
    --filter='bindings.role=roles/pubsub.serviceAgent' --format='value(bindings.members)' |
    grep -x "serviceAccount:$PUBSUB_AGENT")"
trigger=$(of_function "$ORCHESTRATOR" eventTrigger.trigger)
expect "what it cannot take is kept" "projects/$GOOGLE_CLOUD_PROJECT/topics/$DEAD_LETTERS" \
  "$(of_subscription "$(gcloud eventarc triggers describe "$trigger" --format='value(transport.pubsub.subscription)')" \
    deadLetterPolicy.deadLetterTopic)"
expect "the dead letters have a subscription" "projects/$GOOGLE_CLOUD_PROJECT/topics/$DEAD_LETTERS" \
  "$(of_subscription "$DEAD_LETTERS" topic)"

expect "the canary is up" ACTIVE "$(of_function "$CANARY" state)"
expect "the scheduler may invoke it" "serviceAccount:$SCHEDULER_ACCOUNT" \
  "$(invokers "$CANARY" | grep -x "serviceAccount:$SCHEDULER_ACCOUNT")"
expect "the public may not invoke the canary" '' "$(public "$CANARY")"
expect "all traffic goes to the latest canary" True "$(of_function "$CANARY" serviceConfig.allTrafficOnLatestRevision)"
expect "its job is on" ENABLED "$(of_job state)"
expect "its job calls as the scheduler" "$SCHEDULER_ACCOUNT" "$(of_job httpTarget.oidcToken.serviceAccountEmail)"
expect "its job calls the canary" "$(of_function "$CANARY" serviceConfig.uri)" "$(of_job httpTarget.oidcToken.audience)"

for file in deploy/monitoring/policies/*.json; do
  copy=$(render "$file")
  title=$(title "$copy")
  expect "the policy '$title' is on" True \
    "$(gcloud alpha monitoring policies list --filter="displayName=\"$title\"" --format='value(enabled)')"
  # An edit in the console keeps the label by which the deployment knows what it has written.
  live=$(gcloud alpha monitoring policies list --filter="displayName=\"$title\"" --format=json)
  edits=$(diff <(watched <"$copy") <(watched <<<"$live")) || true
  expect "the policy '$title' watches and notifies as $file says" '' "$edits"
  if [[ -n $edits ]]; then
    name=$(gcloud alpha monitoring policies list --filter="displayName=\"$title\"" --format='value(name)')
    echo "Keep the edit in $file and _NOTIFICATION_CHANNELS, or let the next deployment undo it after" >&2
    echo "gcloud alpha monitoring policies update $name --update-user-labels=content=edited" >&2
  fi
done
if [[ -n $MESSAGE_TABLE ]]; then
  expect "the message log listens to the topic" "projects/$GOOGLE_CLOUD_PROJECT/topics/$TOPIC" \
    "$(of_subscription "$MESSAGE_LOG" topic)"
  expect "the message log writes" ACTIVE "$(of_subscription "$MESSAGE_LOG" bigqueryConfig.state)"
fi

# The whole way from the scheduler to the log, which also gives the absence policy the data point without which it
# never fires. The job tries a run that could not tell again, so only the last word counts.
since=$(date -u +%Y-%m-%dT%H:%M:%SZ)
gcloud scheduler jobs run "$CANARY" --location="$REGION"
said=''
for _ in {1..24}; do
  sleep 10
  said=$(gcloud logging read "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"$CANARY\"
    AND jsonPayload.run=\"CANARY_RUN\" AND timestamp>=\"$since\"" --limit=1 \
    --format='value(jsonPayload.outcome,jsonPayload.message)')
  sees "$said" && break
done
expect "the scheduler's call has started a run" yes "$([[ -n $said ]] && echo yes)"
expect "the run could read its sources" yes "$(sees "$said" && echo yes || echo "$said")"
if [[ $said == UNDECIDED* ]]; then
  echo "WARNING: $said. Until phases.toml has a work_query, a date on which nothing arrives is UNKNOWN." >&2
fi
exit $((failures > 0))
