#!/usr/bin/env bash
# In place of gcloud, bq, canary and sleep: appends its call to $RECORD, and answers as the first
# line of $ANSWERS says whose pattern, before a tab, fits "STEP: PROGRAM ARGUMENT…". A call stands
# between two RS, its fields end with US.
input='' file='' answer=''
if [[ ${0##*/} == bq && -p /dev/stdin ]]; then input=$(cat); fi
for argument in "$@"; do
  case $argument in
    --*-file=*) file=$(<"${argument#*=}") ;;
    --source=*) file=$(find "${argument#*=}" -type f -printf '%P\n') ;;
  esac
done
mapfile -t table <"$ANSWERS"
for line in "${table[@]}"; do
  # shellcheck disable=SC2053 # a pattern
  if [[ "$STEP: ${0##*/} $*" == ${line%%$'\t'*} ]]; then
    answer=${line#*$'\t'}
    break
  fi
done
printf -v call '%s\x1f' "$answer" "$input" "$file" "${0##*/}" "$@"
printf '\x1e%s\x1e' "$call" >>"$RECORD"
read -r previous <"$RECORD.previous" || previous=none
echo "${0##*/}" >"$RECORD.previous"
case $answer in
  'exit 1') exit 1 ;;
  'exit 1 at first'*)
    [[ $previous == sleep ]] || exit 1
    printf '%b' "${answer#exit 1 at first}"
    ;;
  ?*) printf '%b\n' "$answer" ;;
esac
