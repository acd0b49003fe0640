# task_forget NAME...: removes the guards of attempts that nobody asks for any more, with their output.
#
# forgotten NAME | kept NAME (it runs, or is about to) | problem PROGRAM TEXT
record script task_forget 1

# settled NAME: whether nothing can be started behind this guard any more.
settled() {
    [ -e "$guards/$1/result" ] || [ -e "$guards/$1/stopped" ] && return
    boot=
    { read -r boot _ up _ <"$guards/$1/boot"; } 2>/dev/null
    [ "$boot" = "$this_boot" ] || return 0
    now=$(uptime)
    [ $((${now%.*} - ${up%.*})) -ge 60 ]
}

this_boot=$(boot_id)
if units=$(active_units); then
    for name; do
        named "$name" || continue
        case "$units " in
        *"$(unit_of "$name") "*)
            record kept "$name"
            continue
            ;;
        esac
        if [ -d "$guards/$name" ] && ! settled "$name"; then
            record kept "$name"
        elif said=$(rm -rf "${guards:?}/$name" "${stage:?}/$name" 2>&1); then
            record forgotten "$name"
        else
            record problem rm "$(last_line "$said")"
        fi
    done
else
    record problem systemctl "$units"
fi
record end
