# update NAME SECONDS TEXT: starts the update of the guest's packages that an operation wants, unless that was done before.
#
# It may take SECONDS. TEXT is the script update_unit. On standard input is nothing, or the URL of a proxy and then, one a
# line, words that nobody may see.
#
# started NAME | guarded NAME | unsure NAME (it may have been started) | problem PROGRAM TEXT
record script update 1
name=$1
seconds=$2
guard=$guards/$name
own=$stage/$name

# kept: brings the guard to the disk, with what tells its age.
kept() { made=$(moment) && keep "$guard" "$made"; } 2>/dev/null

# forget_others: takes away the guards of earlier boots, for no start of one of these can be on its way any more.
forget_others() {
    boot=$(boot_id)
    set +f
    for other in "$guards"/*; do
        [ "$other" = "$guard" ] && continue
        of=
        { read -r of _ <"$other/boot"; } 2>/dev/null
        [ "$of" = "$boot" ] || rm -rf "$other"
    done
    set -f
}

# staged TEXT: leaves what the unit needs in memory; the proxy is on standard input.
staged() {
    printf '%s' "$1" >"$own/unit" || return
    if IFS= read -r url; then
        printf '%s\n' "$url" >"$own/proxy" && cat >"$own/hide"
    fi
} 2>/dev/null

run_unit() {
    limited 15 systemd-run --quiet --no-block --collect --unit="$(unit_of "$name")" --description="Stevedore update $name" \
        --service-type=exec -p RuntimeMaxSec="$seconds" -p TimeoutStartSec=60 -p TimeoutStopSec=90 \
        -p StandardOutput="append:$own/output" -p StandardError="append:$own/output" \
        -p ExecStopPost="/bin/sh $own/unit ended $name" -- /bin/sh "$own/unit" run "$name"
}

# refuse TEXT: the update ends before it has begun.
refuse() {
    if conclude "$name" 'failed none 0 0 no' "$1" 2>/dev/null; then
        record started "$name"
    else
        record problem sh "$1, which could not be written down either"
    fi
}

# start: starts the unit, unless it is too late: nobody waits for it any more then, and there may be tasks.
start() {
    in_time "${made##* }" || { refuse 'it took too long to bring its guard to the disk' && return; }
    said=$(run_unit </dev/null 2>&1)
    code=$?
    case $code in
    0) record started "$name" ;;
    124) record unsure "$name" ;;
    *) refuse "systemd does not take it (exit code $code): $(last_line "$said")" ;;
    esac
}

# begin TEXT: starts the unit. The guard stands, so that whatever fails from here on is an end of this update.
begin() {
    if ! kept; then
        refuse 'its guard could not be brought to the disk'
    elif ! staged "$1"; then
        refuse "what it needs could not be written to $own"
    else
        forget_others
        start
    fi
}

unfit=$(unfit_systemd)
if [ -n "$unfit" ]; then
    record problem systemd-run "$unfit"
elif [ -d "$guard" ]; then
    record guarded "$name"
elif ! said=$(mkdir -p "$guards" "$own" 2>&1); then
    record problem mkdir "$(last_line "$said")"
elif said=$(mkdir "$guard" 2>&1); then
    begin "$3"
elif [ -d "$guard" ]; then
    record guarded "$name"
else
    record problem mkdir "$(last_line "$said")"
fi
record end
