# shellcheck shell=bash
# Sourced. render FILE prints the path of a copy that has this deployment's names in place of the {placeholders};
# {content} becomes a checksum of the rest. title COPY prints its display name.
rendered=$(mktemp -d)
trap 'rm -rf "$rendered"' EXIT

channels=
for channel in ${NOTIFICATION_CHANNELS//,/ }; do
  [[ $channel == none ]] || channels+="${channels:+, }\"$channel\""
done

render() {
  local copy=$rendered/${1##*/}
  sed -e "s|{orchestrator}|$ORCHESTRATOR|g" -e "s|{canary}|$CANARY|g" -e "s|{region}|$REGION|g" \
    -e "s|{dead_letters}|$DEAD_LETTERS|g" -e "s|{message_log}|$MESSAGE_LOG|g" -e "s|\"{channels}\"|$channels|" \
    "$1" >"$copy"
  sed -i "s|{content}|$(sha256sum "$copy" | cut -c1-16)|" "$copy"
  echo "$copy"
}

content() {
  sed -n 's|.*"content": "\([0-9a-f]\{16\}\)".*|\1|p' "$1"
}

title() {
  sed -n 's|^  "displayName": "\(.*\)",$|\1|p' "$1"
}
