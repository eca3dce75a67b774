"""Looks up and fetches policies with the resolver of postfix-mta-sts-resolver.

Reads {domain: text of its _mta-sts record} from standard input, writes
{domain: {"result": ..., "id": ..., "policy": {...}}} to standard output.

Only DNS is a stand-in. How it is asked, what is made of the record, the fetch with
its checks and the parsing of the policy are the package's own.

With the port of a name server at 127.0.0.1 and a time limit in seconds as arguments DNS
is not a stand-in either, and the input is a list of domains.
"""

import asyncio
import json
import sys
from types import SimpleNamespace

import aiodns
from postfix_mta_sts_resolver.resolver import STSResolver


class Records:
    """Answers as aiodns.DNSResolver does."""

    def __init__(self, by_domain):
        self.by_name = {"_mta-sts." + domain: text for domain, text in by_domain.items()}

    async def query(self, name, kind):
        assert kind == "TXT", kind
        return [SimpleNamespace(text=self.by_name[name])]


async def main():
    asked = json.load(sys.stdin)
    loop = asyncio.get_running_loop()
    if len(sys.argv) > 1:
        port, limit = int(sys.argv[1]), float(sys.argv[2])
        dns = aiodns.DNSResolver(["127.0.0.1"], loop=loop, timeout=limit, udp_port=port, tcp_port=port)
    else:
        limit, dns = 60, Records(asked)
    resolver = STSResolver(timeout=limit, loop=loop)
    resolver._resolver = dns

    async def find(domain):
        result, answer = await resolver.resolve(domain)
        id_, policy = answer or (None, None)
        return domain, {"result": result.name, "id": id_, "policy": policy}

    json.dump(dict(await asyncio.gather(*map(find, asked))), sys.stdout)


asyncio.run(main())
