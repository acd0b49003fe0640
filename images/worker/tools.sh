#!/usr/bin/env bash
# Sees to it that programs are there: tools.sh PROGRAM:PACKAGE...
#
# Root on a Debian machine gets the missing packages installed; everybody else is told the command that does it.
set -euo pipefail
export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
missing=()
for pair; do
    command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
done
[ ${#missing[@]} -eq 0 ] && exit 0
# In a user namespace an ordinary user is called root, too, and only one id is there.
ids=$(tr -s ' ' </proc/self/uid_map | cut -d ' ' -f 4)
if [ "$(id -u)" -eq 0 ] && [ "$ids" != 1 ] && command -v apt-get >/dev/null; then
    echo "installing ${missing[*]}" >&2
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${missing[@]}"; } >/dev/null
else
    echo "these Debian packages are missing; install them with: apt-get install ${missing[*]}" >&2
    exit 1
fi
