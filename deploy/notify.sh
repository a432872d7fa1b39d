#!/usr/bin/env bash
# One marked message over each channel of the canary, with its answer. A job of the scheduler asks
# for it, because the scheduler's account is the only one that may, and is gone afterwards.
source deploy/common.sh

if [[ $NOTIFY_TEST == none ]]; then
  echo "NOT SEEN: whether a message reaches the channels. _NOTIFY_TEST=none, so none is sent."
  exit
fi
job=$CANARY-notify-test
jobs() { gcloud scheduler jobs "$@" --location="$REGION"; }
url=$(of_service "$CANARY" status.url)
if jobs describe "$job" --format=none 2>/dev/null; then jobs delete \
  "$job"; fi # of a deployment that was ended
since=$(date -u +%Y-%m-%dT%H:%M:%SZ)
# The year's first minute: it is asked for once, now.
patiently 2 jobs create http "$job" --schedule='0 0 1 1 *' --time-zone=Etc/UTC \
  --uri="$url/notify-test" \
  --http-method=POST --description="$MARK" --oidc-service-account-email="$SCHEDULER_ACCOUNT" \
    --oidc-token-audience="$url"
jobs run "$job"
said=''
for _ in {1..12}; do
  sleep 10
  said=$(gcloud logging read \
    "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=\"$CANARY\"
    AND jsonPayload.run=\"CANARY_NOTIFY_TEST\" AND timestamp>=\"$since\"" --limit=1 \
    --format='value(jsonPayload.all_sent,jsonPayload.message)')
  [[ -n $said ]] && break
done
jobs delete "$job"
echo "${said:-no answer in two minutes}"
[[ $said == True* ]]
