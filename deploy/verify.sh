#!/usr/bin/env bash
# Is what was deployed invokable and watched? Says of each point whether it holds, and fails if one
# does not.
source deploy/common.sh

failures=0
expect() {
  if [[ $2 == "$3" ]]; then
    echo "ok: $1"
  else
    echo "FAILED: $1: expected '$2', found '$3'" >&2
    failures=$((failures + 1))
  fi
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

# What a policy watches and whom it notifies, from its file or as gcloud prints it. A channel's id
# is enough: the project before it may be a name or a number.
watched() {
  grep -oE '"(filter|comparison|evaluationMissingData)": ".*"|notificationChannels/[^"]+' | sort
}

# Only COULD_NOT_TELL is unreadable: a run that is UNDECIDED has read everything.
sees() {
  [[ -n $1 && $1 != COULD_NOT_TELL* ]]
}

# checks_of NAME [ACCOUNT]: a function, and who has to be able to invoke it.
checks_of() {
  local latest
  latest=$(of_service "$1" status.latestCreatedRevisionName) || latest=
  expect "$1: its latest revision is ready" "${latest:-a revision}" \
    "$(of_service "$1" status.latestReadyRevisionName)"
  expect "$1: all traffic goes to the latest revision" $'True\t100' \
    "$(of_service "$1" 'spec.traffic[0].latestRevision,spec.traffic[0].percent')"
  [[ -z $2 ]] ||
    expect "$1: its caller may invoke it" "serviceAccount:$2" \
      "$(invokers "$1" | grep -x "serviceAccount:$2")"
  expect "$1: the public may not" '' "$(public "$1")"
  # Who has turned that off lets everybody in, whatever the roles say; gcloud run services update
  # --invoker-iam-check turns it on again.
  expect "$1: who calls is asked who they are" '' \
    "$(of_service "$1" "metadata.annotations['run.googleapis.com/invoker-iam-disabled']")"
}

if beside; then
  echo "NOT SEEN: whether the orchestrator is invoked, its deliveries are tried again, and what it cannot take is kept:" \
    "it is not this project's, and has to be looked at where it was deployed."
else
  checks_of "$ORCHESTRATOR" "$ORCHESTRATOR_ACCOUNT"
  expect "$PUSH listens to the topic" "$TOPIC_PATH" "$(of_subscription "$PUSH" topic)"
  expect "$PUSH is on" ACTIVE "$(of_subscription "$PUSH" state)"
  expect "$PUSH pushes to the orchestrator" "$(of_service "$ORCHESTRATOR" status.url)" \
    "$(of_subscription "$PUSH" pushConfig.pushEndpoint)"
  expect "$PUSH calls as the orchestrator's account" "$ORCHESTRATOR_ACCOUNT" \
    "$(of_subscription "$PUSH" pushConfig.oidcToken.serviceAccountEmail)"
  expect "$PUSH calls for the orchestrator" "$(of_service "$ORCHESTRATOR" status.url)" \
    "$(of_subscription "$PUSH" pushConfig.oidcToken.audience)"
  expect "$PUSH waits as long as a delivery may take" 600 \
    "$(of_subscription "$PUSH" ackDeadlineSeconds)"
  expect "what it cannot take is kept" "projects/$GOOGLE_CLOUD_PROJECT/topics/$DEAD_LETTERS" \
    "$(of_subscription "$PUSH" deadLetterPolicy.deadLetterTopic)"
  expect "the dead letters have a subscription" \
    "projects/$GOOGLE_CLOUD_PROJECT/topics/$DEAD_LETTERS" \
    "$(of_subscription "$DEAD_LETTERS" topic)"
fi

if has "$PAGE"; then checks_of "$PAGE" ""; fi
checks_of "$CANARY" "$SCHEDULER_ACCOUNT"
expect "its job is on" ENABLED "$(of_job state)"
expect "its job calls as the scheduler" "$SCHEDULER_ACCOUNT" \
  "$(of_job httpTarget.oidcToken.serviceAccountEmail)"
expect "its job calls the canary" "$(of_service "$CANARY" status.url)" \
  "$(of_job httpTarget.oidcToken.audience)"

for file in $(policies); do
  copy=$(render "$file")
  title=$(title "$copy")
  expect "the policy '$title' is on" True \
    "$(gcloud monitoring policies list --filter="userLabels.canary~^$CANARY$ AND \
    displayName=\"$title\"" --format='value(enabled)')"
  # An edit in the console keeps the label by which the deployment knows what it has written.
  live=$(gcloud monitoring policies list \
    --filter="userLabels.canary~^$CANARY$ AND displayName=\"$title\"" --format=json)
  edits=$(diff <(watched <"$copy") <(watched <<<"$live")) || true
  expect "the policy '$title' watches and notifies as $file says" '' "$edits"
  if [[ -n $edits ]]; then
    name=$(gcloud monitoring policies list \
      --filter="userLabels.canary~^$CANARY$ AND displayName=\"$title\"" --format='value(name)')
    echo "Keep the edit in $file and _NOTIFICATION_CHANNELS, or let the next deployment undo it after" >&2
    echo "gcloud monitoring policies update $name --update-user-labels=content=edited" >&2
  fi
done
if [[ -n $MESSAGE_TABLE ]]; then
  expect "the message log listens to the topic" "$TOPIC_PATH" \
    "$(of_subscription "$MESSAGE_LOG" topic)"
  expect "the message log writes" ACTIVE "$(of_subscription "$MESSAGE_LOG" bigqueryConfig.state)"
fi

# What an earlier deployment needed, and this one does not.
wanted=$(project_roles | sed -E 's/^([^=]*)=([^=]*)=?(.*)$/serviceAccount:\1,roles\/\2,\3/')
surplus=$(bindings | grep -F -f <(accounts | tr ' ' '\n' | sed 's/.*/serviceAccount:&,/') \
  | grep -vxF "$wanted") || true
while IFS=, read -r member role database; do
  [[ -n $member ]] || continue
  echo "WARNING: ${member#*:} has $role${database:+ on the database $database}, and needs it no longer:" >&2
  echo "gcloud projects remove-iam-policy-binding $GOOGLE_CLOUD_PROJECT --member=$member --role=$role" \
    "--condition='$(on_database "$database")'" >&2
done <<<"$surplus"

# The whole way from the scheduler to the log, which also gives the policy on silence its first data
# point. The job tries a run that could not tell again, so only the last word counts.
since=$(date -u +%Y-%m-%dT%H:%M:%SZ)
gcloud scheduler jobs run "$CANARY" --location="$REGION"
said=''
for _ in {1..24}; do
  sleep 10
  said=$(gcloud logging read \
    "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"$CANARY\"
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
