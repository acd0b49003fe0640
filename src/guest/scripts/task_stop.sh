# task_stop NAME: stops an attempt, or sees to it that it never begins. Does not wait for its end.
#
# asked NAME | forestalled NAME | problem PROGRAM TEXT
record script task_stop 1
name=$1
unit=$(unit_of "$name")

# no_guard: makes the guard if nobody has begun the attempt. Whoever does so later finds it, and that it is stopped.
no_guard() {
    mkdir -p "$guards" && mkdir "$guards/$name" && printf '%s -\n' "$(moment)" >"$guards/$name/boot" && forestall "$name"
}

# asked: leaves word for a unit that is about to be started, then has systemd stop it: SIGTERM, and SIGKILL after 30 s.
asked() {
    mkdir -p "$stage/$name" && true >"$stage/$name/asked" && limited 20 systemctl stop --no-block -- "$unit"
}

# never_ran: whether there is neither a unit nor a result, though the machine has been up ever since: what systemd had not begun
# yet ends without one. If its unit still comes, it finds the word that was left, or nothing to run.
never_ran() {
    boot=
    { read -r boot _ <"$guards/$name/boot"; } 2>/dev/null
    [ "$boot" = "$(boot_id)" ] || return
    for _ in 1 2 3; do
        units=$(active_units) || return
        case "$units " in
        *"$unit inactive"*) sleep 1 ;;
        *"$unit "*) return 1 ;;
        *) break ;;
        esac
    done
    [ ! -e "$guards/$name/result" ]
}

if ! have systemctl; then
    record problem systemctl 'there is no such program'
elif ! said=$(no_guard 2>&1) && [ ! -d "$guards/$name" ]; then
    record problem mkdir "$(last_line "$said")"
elif [ -e "$guards/$name/result" ]; then
    record asked "$name"
else
    # A unit may be there although its guard was not.
    said=$(asked 2>&1)
    case $?:$said in
    0:* | 5:* | *' not loaded.'*)
        if never_ran && forestall "$name" 2>/dev/null; then
            rm -rf "${stage:?}/$name"
            record forestalled "$name"
        else
            record asked "$name"
        fi
        ;;
    *)
        # It may have ended meanwhile, and have taken away what was left for it.
        if [ -e "$guards/$name/result" ] || [ -e "$guards/$name/stopped" ]; then
            record asked "$name"
        else
            record problem systemctl "$(last_line "$said")"
        fi
        ;;
    esac
fi
record end
