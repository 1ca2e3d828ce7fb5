#!/usr/bin/env bash
# Makes the passwords that compose.yaml hands to its services, in deploy/compose/secrets. What is there stays.
set -euo pipefail
cd "$(dirname "$0")"
# Nobody else enters the folder. The files themselves have to be readable for the users of the containers, into
# which they are mounted with the owner that they have here.
mkdir -p secrets
chmod 0700 secrets
for name in shop_password archive_password; do
    [ -e "secrets/$name" ] || openssl rand -hex 24 >"secrets/$name"
    chmod 0444 "secrets/$name"
done
