#!/bin/sh
# getent ahosts NAME | getent passwd USER
code=2
if [ "$1" = passwd ]; then
    grep -qxF -- "$2" "$STEVEDORE_ROOT/facts/users" && echo "$2:x:0:0::/root:/bin/sh" && exit 0
    exit "$code"
fi
while read -r name address; do
    if [ "$name" = "$2" ]; then
        printf '%-15s STREAM %s\n%-15s DGRAM\n%-15s RAW\n' "$address" "$name" "$address" "$address"
        code=0
    fi
done <"$STEVEDORE_ROOT/facts/hosts"
exit "$code"
