#!/bin/sh
# A hook for dns.hook.command, for a provider whose API takes record sets by HTTP. Fit the
# request to your provider's; what is given in the environment is explained in nsupdate.sh.
#
# API is the address of the provider's API, TOKEN_FILE holds what it knows us by. This one
# wants PUT and DELETE of /records/NAME/TYPE, as several do, with all records of that name
# and type: where others have TXT records at _mta-sts or _smtp._tls too, get them first.
set -eu
url="$API/records/$MTASTS_NAME/$MTASTS_TYPE"
call() { # the token does not stand in the command line, which others may read
  printf 'header = "Authorization: Bearer %s"\n' "$(cat "$TOKEN_FILE")" |
    curl --config - --fail-with-body --silent --show-error --max-time 20 "$@" >&2
}
if [ "$MTASTS_ACTION" = set ]; then
  # Values hold no control characters; quotes and backslashes are escaped for JSON. Addresses
  # hold neither, and have blanks between them.
  values=$(printf '%s' "$MTASTS_VALUE" | sed 's/["\\]/\\&/g; s/.*/"&"/')
  case $MTASTS_TYPE in A | AAAA) values=$(printf '%s' "$values" | sed 's/ /", "/g') ;; esac
  call --request PUT --header 'Content-Type: application/json' --data "{\"ttl\": $MTASTS_TTL, \"values\": [$values]}" "$url"
else
  call --request DELETE "$url"
fi
