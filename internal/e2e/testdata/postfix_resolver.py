"""Looks up and fetches policies with the resolver of postfix-mta-sts-resolver.

Reads {domain: text of its _mta-sts record} from standard input, writes
{domain: {"result": ..., "id": ..., "policy": {...}}} to standard output.

Only DNS is a stand-in. How it is asked, what is made of the record, the fetch with
its checks and the parsing of the policy are the package's own.
"""

import asyncio
import json
import sys
from types import SimpleNamespace

from postfix_mta_sts_resolver.resolver import STSResolver


class Records:
    """Answers as aiodns.DNSResolver does."""

    def __init__(self, by_domain):
        self.by_name = {"_mta-sts." + domain: text for domain, text in by_domain.items()}

    async def query(self, name, kind):
        assert kind == "TXT", kind
        return [SimpleNamespace(text=self.by_name[name])]


async def main():
    by_domain = json.load(sys.stdin)
    resolver = STSResolver(timeout=60, loop=asyncio.get_running_loop())
    resolver._resolver = Records(by_domain)
    found = {}
    for domain in by_domain:
        result, answer = await resolver.resolve(domain)
        id_, policy = answer or (None, None)
        found[domain] = {"result": result.name, "id": id_, "policy": policy}
    json.dump(found, sys.stdout)


asyncio.run(main())
