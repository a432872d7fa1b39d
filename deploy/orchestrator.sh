#!/usr/bin/env bash
# The topic, the function, and the push subscription between them, which no redeployment of the
# function touches: what is queued stays queued. What cannot be delivered is put aside.
source deploy/common.sh

if beside; then
  echo "_ORCHESTRATOR=none: no orchestrator, topic or subscription is made, or changed"
  exit
fi
gcloud pubsub topics describe "$TOPIC" --format=none 2>/dev/null ||
   gcloud pubsub topics create "$TOPIC"
gcloud pubsub topics describe "$DEAD_LETTERS" --format=none 2>/dev/null ||
  gcloud pubsub topics create "$DEAD_LETTERS" --labels="$LABELS"
deploy_function orchestrator "$ORCHESTRATOR" orchestrate "${GIVEN_PHASE:+,PHASE=$PHASE}" "" \
  --service-account="$ORCHESTRATOR_ACCOUNT" --timeout=540 --max-instances="$MAX_INSTANCES"
may_invoke "$ORCHESTRATOR_ACCOUNT" "$ORCHESTRATOR"
url=$(of_service "$ORCHESTRATOR" status.url)

# A topic without a subscription keeps nothing.
subscription "$DEAD_LETTERS" "$DEAD_LETTERS" messageRetentionDuration=604800s \
  --message-retention-duration=7d --expiration-period=never
gcloud pubsub topics add-iam-policy-binding "$DEAD_LETTERS" \
  --member="serviceAccount:$PUBSUB_AGENT" --role=roles/pubsub.publisher --format=none
gcloud pubsub subscriptions add-iam-policy-binding "$DEAD_LETTERS" \
  --member="serviceAccount:$CANARY_ACCOUNT" --role=roles/pubsub.subscriber --format=none
# With up to ten minutes between them, 100 attempts (the most there can be) take 16 hours: an outage
# of a night is outlasted. What was acknowledged is kept for a week, so that a bad night can be
# delivered again: seek to a time.
wanted="pushConfig.pushEndpoint=$url
pushConfig.oidcToken.serviceAccountEmail=$ORCHESTRATOR_ACCOUNT
pushConfig.oidcToken.audience=$url
ackDeadlineSeconds=600
retryPolicy.minimumBackoff=10s
retryPolicy.maximumBackoff=600s
deadLetterPolicy.deadLetterTopic=projects/$GOOGLE_CLOUD_PROJECT/topics/$DEAD_LETTERS
deadLetterPolicy.maxDeliveryAttempts=100
messageRetentionDuration=604800s
retainAckedMessages=True"
subscription "$PUSH" "$TOPIC" "$wanted" --push-endpoint="$url" \
  --push-auth-service-account="$ORCHESTRATOR_ACCOUNT" \
  --push-auth-token-audience="$url" --ack-deadline=600 --min-retry-delay=10s \
    --max-retry-delay=600s \
  --dead-letter-topic="$DEAD_LETTERS" --max-delivery-attempts=100 \
  --message-retention-duration=7d --retain-acked-messages --expiration-period=never
gcloud pubsub subscriptions add-iam-policy-binding "$PUSH" \
  --member="serviceAccount:$PUBSUB_AGENT" --role=roles/pubsub.subscriber --format=none

# A subscription's topic cannot be changed, and what is queued on another one is not thrown away
# here.
left=$(gcloud pubsub subscriptions list \
  --filter="pushConfig.pushEndpoint=$url AND -topic=$TOPIC_PATH" \
  --format='value(name.basename())')
for old in $left; do
  echo "WARNING: $old still pushes to $ORCHESTRATOR, from another topic. When it is empty:" >&2
  echo "gcloud pubsub subscriptions delete $old" >&2
done
