#!/usr/bin/env bash
# Alert policies and the dashboard, known by their labels and display names. What has not changed is
# left alone: an update would close a policy's open incidents, and let a condition of absence wait
# for its first data point again.
source deploy/common.sh

# single LINES TITLE: refuses to guess which of several is meant.
single() {
  if [[ $1 == *$'\n'* ]]; then
    echo "there are several named '$2'; delete all but one" >&2
    return 1
  fi
}

titles=
for file in $(policies); do
  copy=$(render "$file")
  titles+=$(title "$copy")$'\n'
  found=$(gcloud monitoring policies list \
    --filter="userLabels.canary~^$CANARY$ AND displayName=\"$(title "$copy")\"" \
    --format='value(name,userLabels.content)')
  single "$found" "$(title "$copy")"
  read -r name content <<<"$found" || true
  if [[ -z $name ]]; then
    # Monitoring may not have heard of a new log-based metric for ten minutes, and refuses a policy
    # until then.
    patiently 10 gcloud monitoring policies create --policy-from-file="$copy" --format=none
  elif [[ $content != "$(content "$copy")" ]]; then
    gcloud monitoring policies update "$name" --policy-from-file="$copy" --format=none
  fi
done

# Those that no file is for any more, because something else is watched now.
live=$(gcloud monitoring policies list --filter="userLabels.canary~^$CANARY$" \
  --format='csv[no-heading](name,displayName)')
while IFS=, read -r name title; do
  [[ -z $name ]] || grep -qxF "$(tr -d '"' <<<"$title")" <<<"$titles" ||
    echo "WARNING: the policy $title is of an earlier deployment: gcloud monitoring policies delete $name" >&2
done <<<"$live"

copy=$(render deploy/monitoring/dashboard.json)
found=$(gcloud monitoring dashboards list \
  --filter="labels.canary~^$CANARY$ AND displayName=\"$(title "$copy")\"" \
  --format='value(name,labels.content,etag)')
single "$found" "$(title "$copy")"
read -r name content etag <<<"$found" || true
if [[ -z $name ]]; then
  gcloud monitoring dashboards create --config-from-file="$copy" --format=none
elif [[ $content != "$(content "$copy")" ]]; then
  sed -i "1s|{|{ \"etag\": \"$etag\",|" "$copy"
  gcloud monitoring dashboards update "$name" --config-from-file="$copy" --format=none
fi
