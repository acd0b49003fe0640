#!/bin/sh
# systemctl show -p PROPERTY,... -- UNIT | systemctl show -p PROPERTY,... -- PATTERN... | systemctl stop --no-block -- UNIT |
# systemctl is-system-running | systemctl --version
units=$STEVEDORE_ROOT/run/units
word=$1
wanted=,${3-},
while [ $# -gt 1 ] && [ "$1" != -- ]; do shift; done
[ "$1" = -- ] && shift
unit=${1-}

case $word in
--version) echo 'systemd 252 (252.38-1~deb12u1)' && exit 0 ;;
is-system-running) echo running && exit 0 ;;
stop)
    if ! { true >"$units/$unit/stop"; } 2>/dev/null; then
        echo "Failed to stop $unit: Unit $unit not loaded." >&2
        exit 5
    fi
    exit 0
    ;;
esac

show() {
    for pair in "LoadState=$1" "ActiveState=$2" "SubState=$3" "Result=$4" "ExecMainStatus=$5"; do
        case $wanted in
        *",${pair%%=*},"*) echo "$pair" ;;
        esac
    done
    exit 0
}

case $unit in
*'*'*)
    # The units that systemd-run was given; a job waits for one that process 1 has not seen.
    for pattern; do
        for folder in "$units"/$pattern; do
            [ -d "$folder" ] || continue
            state=inactive
            job='Job=1
'
            [ -f "$folder/state" ] && read -r state <"$folder/state" && job=
            printf '%sId=%s\nActiveState=%s\n\n' "$job" "${folder##*/}" "$state"
        done
    done
    exit 0
    ;;
esac

while read -r name load active sub result status; do
    [ "$name" = "$unit" ] && show "$load" "$active" "$sub" "$result" "$status"
done <"$STEVEDORE_ROOT/facts/units"
show not-found inactive dead success 0
