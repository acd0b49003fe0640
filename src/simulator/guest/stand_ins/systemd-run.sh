#!/bin/sh
# systemd-run [-p PROPERTY=VALUE | OPTION]... -- PROGRAM [ARGUMENT]... | systemd-run --on-active=SECONDS [OPTION]... PROGRAM
#
# A program that is to run later is run at once, and its effect on the machine waits.
#
# The unit waits in its folder for the guest's process 1, which is in the program that plays the guest: properties one a
# line, the program's words after an empty line.
properties=
after=
while [ $# -gt 0 ]; do
    case $1 in
    --unit=*) unit=${1#--unit=} ;;
    --on-active=*) after=${1#--on-active=} ;;
    -p)
        properties="$properties$2
"
        shift
        ;;
    --) break ;;
    [!-]*) break ;;
    esac
    shift
done
[ "$1" = -- ] && shift
folder=$STEVEDORE_ROOT/run/units/$unit
# Making a folder is atomic: of two at once, one is refused.
if ! mkdir "$folder" 2>/dev/null; then
    echo "Failed to start transient unit: Unit $unit was already loaded or has a fragment file." >&2
    exit 1
fi
if [ -n "$after" ]; then
    echo "$after" >"$STEVEDORE_ROOT/run/effect-after"
    exec "$@"
fi
{
    printf '%s\n' "$properties"
    printf '%s\n' "$@"
} >"$folder/order.new"
mv "$folder/order.new" "$folder/order"
