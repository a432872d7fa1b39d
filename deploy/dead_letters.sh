#!/usr/bin/env bash
# What could not be delivered is kept, instead of being dropped after a day.
set -euo pipefail

trigger=$(gcloud functions describe "$ORCHESTRATOR" --region="$REGION" --format='value(eventTrigger.trigger)')
subscription=$(gcloud eventarc triggers describe "$trigger" --format='value(transport.pubsub.subscription)')

gcloud pubsub topics describe "$DEAD_LETTERS" --format=none 2>/dev/null || gcloud pubsub topics create "$DEAD_LETTERS"
# A topic without a subscription keeps nothing.
gcloud pubsub subscriptions describe "$DEAD_LETTERS" --format=none 2>/dev/null ||
  gcloud pubsub subscriptions create "$DEAD_LETTERS" --topic="$DEAD_LETTERS" \
    --message-retention-duration=7d --expiration-period=never

gcloud pubsub topics add-iam-policy-binding "$DEAD_LETTERS" \
  --member="serviceAccount:$PUBSUB_AGENT" --role=roles/pubsub.publisher --format=none
gcloud pubsub subscriptions add-iam-policy-binding "$subscription" \
  --member="serviceAccount:$PUBSUB_AGENT" --role=roles/pubsub.subscriber --format=none

# With up to ten minutes between them, 100 attempts (the most there can be) take 16 hours: an outage of a night is
# outlasted, and the message is put aside before the subscription's 24 hours are over.
gcloud pubsub subscriptions update "$subscription" --dead-letter-topic="$DEAD_LETTERS" --max-delivery-attempts=100
