# unit_state NAME: what became of a transient unit.
#
# property NAME VALUE | problem PROGRAM TEXT
record script unit_state 1
if have systemctl; then
    shown=$(limited 10 systemctl show -p LoadState,ActiveState,SubState,Result -- "$1.service" 2>&1)
    code=$?
    if [ "$code" -eq 0 ]; then
        printf '%s\n' "$shown" | while IFS= read -r entry; do
            case $entry in
            *=*) record property "${entry%%=*}" "${entry#*=}" ;;
            esac
        done
    else
        record problem systemctl "exit code $code: $(last_line "$shown")"
    fi
else
    record problem systemctl 'there is no such program'
fi
record end
