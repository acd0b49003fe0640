#!/bin/sh
# systemd-run --quiet --remain-after-exit --unit=NAME -- PROGRAM [ARGUMENT]...
while [ $# -gt 0 ]; do
    case $1 in
    --unit=*) unit=${1#--unit=} ;;
    --) break ;;
    esac
    shift
done
shift
folder=$STEVEDORE_ROOT/run/units/$unit.service
# Making a folder is atomic: of two at once, one is refused.
if ! mkdir "$folder" 2>/dev/null; then
    echo "Failed to start transient service unit: Unit $unit.service already exists." >&2
    exit 1
fi
program=$STEVEDORE_ROOT/bin/${1##*/}
shift
{
    code=203
    [ -x "$program" ] && {
        "$program" "$@" >"$folder/output" 2>&1
        code=$?
    }
    echo "$code" >"$folder/result.new"
    mv "$folder/result.new" "$folder/result"
} </dev/null >/dev/null 2>&1 &
