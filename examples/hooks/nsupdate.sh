#!/bin/sh
# A hook for dns.hook.command: brings one change of a record about with nsupdate, of BIND's
# tools. The server gives it the change in the environment (and as JSON on standard input):
#
#   MTASTS_ACTION   set, or remove
#   MTASTS_NAME     of the record, as _mta-sts.example.com
#   MTASTS_TYPE     TXT, CNAME, A or AAAA
#   MTASTS_VALUE    to set
#   MTASTS_BEFORE   our value that it replaces, or that is to be removed
#   MTASTS_TTL      seconds
#   MTASTS_DOMAIN, MTASTS_ID
#
# It may be given the same change twice, and must leave records of others alone. Exit status
# 0 means that the record is published; with any other it is tried again later.
#
#   [dns.hook]
#   command = ["/usr/local/lib/mtasts-server/nsupdate.sh"]
#
# Where to: NSUPDATE_SERVER (address), NSUPDATE_PORT (53), NSUPDATE_KEY (file of the TSIG key).
set -eu

rdata() { # a value as it stands in a zone file
  case $MTASTS_TYPE in
    TXT) printf '"%s"' "$(printf '%s' "$1" | sed 's/["\\]/\\&/g')" ;; # up to 255 bytes
    CNAME) printf '%s.' "$1" ;;
    *) printf '%s' "$1" ;;
  esac
}

{
  echo "server ${NSUPDATE_SERVER:-127.0.0.1} ${NSUPDATE_PORT:-53}"
  if [ -n "$MTASTS_BEFORE" ]; then
    echo "update delete $MTASTS_NAME. $MTASTS_TYPE $(rdata "$MTASTS_BEFORE")"
  fi
  if [ "$MTASTS_ACTION" = set ]; then
    echo "update add $MTASTS_NAME. $MTASTS_TTL $MTASTS_TYPE $(rdata "$MTASTS_VALUE")"
  fi
  echo send
} | nsupdate ${NSUPDATE_KEY:+-k "$NSUPDATE_KEY"}
