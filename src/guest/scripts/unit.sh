# unit NAME [WAIT]: what systemd says of a unit, after waiting at most WAIT seconds for it to have started or ended.
#
# property NAME VALUE | problem PROGRAM TEXT
record script unit 1
left=${2:-0}
if have systemctl; then
    while :; do
        shown=$(limited 10 systemctl show -p LoadState,ActiveState,SubState,Result,ExecMainStatus,Job -- "$1" 2>&1)
        code=$?
        case $shown in
        *ActiveState=activating* | *ActiveState=deactivating* | *ActiveState=reloading* | *Job=[1-9]*) [ "$left" -gt 0 ] || break ;;
        *) break ;;
        esac
        left=$((left - 1))
        sleep 1
    done
    if [ "$code" -eq 0 ]; then
        printf '%s\n' "$shown" | while IFS= read -r entry; do
            case $entry in
            Job=*) ;;
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
