#!/bin/sh
# Looks at each change of the policies before it is deployed, and at the world as senders see
# it. Run it where the main file and the policies are, as in a checkout of their repository:
#
#   examples/ci/check.sh [CONFIG] [OPTIONS OF VERIFY...]
#
# Exit status 0 means that the change may go out. Most machines that run pipelines cannot
# connect to port 25: then the MX hosts are "not probed", and --no-mx leaves them out.
set -eu
config=${1:-mtasts-server.toml}
[ $# -eq 0 ] || shift

echo "== the policies, as a strict publisher reads them"
mtasts-server check --strict --config "$config"

echo "== the domains, as senders see them today"
mtasts-server verify --config "$config" --no-mx "$@"
