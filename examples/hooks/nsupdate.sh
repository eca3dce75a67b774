#!/bin/sh
# A hook for dns.hook.command: brings one change of a record about with nsupdate, of BIND's
# tools. The server gives it the change in the environment (and as JSON on standard input):
#
#   MTASTS_ACTION   set, or remove
#   MTASTS_NAME     of the record, as _mta-sts.example.com
#   MTASTS_TYPE     TXT, CNAME, A or AAAA
#   MTASTS_VALUE    to set; of several addresses all, with blanks between them
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

rdata() { # a value as it stands in a zone file: a text in strings of at most 255 bytes
  case $MTASTS_TYPE in
    TXT) printf '%s' "$1" | fold -b -w 255 | sed 's/["\\]/\\&/g; s/.*/"&"/' | tr '\n' ' ' ;;
    CNAME) printf '%s.' "$1" ;;
    *) printf '%s' "$1" ;;
  esac
}

each() { # a line for each value: each "update ..." VALUES. Not by echo, which reads backslashes
  case $MTASTS_TYPE in
    A | AAAA) for value in $2; do printf '%s %s\n' "$1" "$(rdata "$value")"; done ;;
    *) [ -z "$2" ] || printf '%s %s\n' "$1" "$(rdata "$2")" ;;
  esac
}

{
  echo "server ${NSUPDATE_SERVER:-127.0.0.1} ${NSUPDATE_PORT:-53}"
  each "update delete $MTASTS_NAME. $MTASTS_TYPE" "$MTASTS_BEFORE"
  if [ "$MTASTS_ACTION" = set ]; then
    each "update add $MTASTS_NAME. $MTASTS_TTL $MTASTS_TYPE" "$MTASTS_VALUE"
  fi
  echo send
} | nsupdate ${NSUPDATE_KEY:+-k "$NSUPDATE_KEY"}
