#!/bin/sh
# getent ahosts NAME
code=2
while read -r name address; do
    if [ "$name" = "$2" ]; then
        printf '%-15s STREAM %s\n%-15s DGRAM\n%-15s RAW\n' "$address" "$name" "$address" "$address"
        code=0
    fi
done <"$STEVEDORE_ROOT/facts/hosts"
exit "$code"
