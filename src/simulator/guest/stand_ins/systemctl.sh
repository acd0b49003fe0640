#!/bin/sh
# systemctl show -p PROPERTY,... -- UNIT
wanted=,$3,
while [ $# -gt 1 ]; do shift; done
unit=$1

show() {
    for pair in "LoadState=$1" "ActiveState=$2" "SubState=$3" "Result=$4" "ExecMainStatus=$5"; do
        case $wanted in
        *",${pair%%=*},"*) echo "$pair" ;;
        esac
    done
    exit 0
}

# A unit that systemd-run started.
folder=$STEVEDORE_ROOT/run/units/$unit
if [ -d "$folder" ]; then
    [ -f "$folder/result" ] || show loaded active running success 0
    read -r code <"$folder/result"
    [ "$code" -eq 0 ] && show loaded active exited success 0
    show loaded failed failed exit-code "$code"
fi

while read -r name load active sub result status; do
    [ "$name" = "$unit" ] && show "$load" "$active" "$sub" "$result" "$status"
done <"$STEVEDORE_ROOT/facts/units"
show not-found inactive dead success 0
