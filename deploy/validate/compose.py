"""Whether a compose file means what it says: what JSON schemas cannot see.

Usage: compose.py COMPOSE.YAML. Prints findings, one a line, and fails where there is any.
"""

import json
import re
import sys
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import yaml
from compose_spec import PyCompose


def interpolated(text):
    """The text as it is where no variable is set: ${NAME:-default} is its default."""
    return re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", text)


def defaults_of_numbers(services):
    for service in services.values():
        deploy = service.get("deploy", {})
        if "replicas" in deploy:
            deploy["replicas"] = int(deploy["replicas"])


def names_of(configuration):
    """The hosts that an upshift.toml names."""
    cluster = configuration.get("cluster", {})
    urls = cluster.get("etcd", []) + cluster.get("coordinators", [])
    urls += [cluster["advertise"]] if "advertise" in cluster else []
    yield from (urlsplit(url).hostname for url in urls)
    yield from (database["host"] for database in configuration.get("databases", {}).values())


def unreachable(document, folder):
    """Hosts in configurations that are no service, or one on other networks."""
    services = document["services"]
    for name, service in services.items():
        networks = set(service.get("networks", []))
        for config in service.get("configs", []):
            path = folder / document["configs"][config["source"]]["file"]
            for host in names_of(tomllib.loads(path.read_text())):
                if not networks & set(services.get(host, {}).get("networks", [])):
                    yield f"{name}: {path.name} names {host}, which it cannot reach"


def too_much(document):
    """Rights that Upshift's own containers do not need."""
    for name, service in document["services"].items():
        if not service["image"].startswith("upshift"):
            continue
        wanted = {
            "read_only": service.get("read_only") is True,
            "cap_drop": service.get("cap_drop") == ["ALL"] and "cap_add" not in service,
            "user": not str(service.get("user", "0")).startswith(("0", "root")),
            "security_opt": "no-new-privileges:true" in service.get("security_opt", []),
            "privileged": not service.get("privileged"),
        }
        yield from (f"{name}: {key} gives it more than it needs" for key, good in wanted.items() if not good)


def findings(path):
    document = yaml.safe_load(interpolated(path.read_text()))
    services = document["services"]
    defaults_of_numbers(services)
    try:
        PyCompose.from_json(json.dumps(document)).validate()
    except ValueError as error:
        yield str(error)
        return
    for name, service in services.items():
        for other in service.get("depends_on", {}):
            if other not in services:
                yield f"{name}: depends on {other}, which is no service"
    yield from unreachable(document, path.parent)
    yield from too_much(document)
    etcd = {n for name, s in services.items() if name.startswith("etcd") for n in s["networks"]}
    if etcd & set(services["worker"]["networks"]):
        yield "worker: it reaches etcd, and has no business there"


def main():
    path = Path(sys.argv[1])
    found = [f"{path}: {finding}" for finding in findings(path)]
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
