# Stands after guarded.sh in front of the scripts that deal with attempts at tasks.
#
# Each attempt, named UID.NUMBER, has a guard: the folder $guards/NAME. It is made once, before anything is started,
# and who finds it there starts nothing. It is on the disk and has
#   boot     "BOOT EPOCH UPTIME SECONDS": in which life of the machine it was made and when, by both clocks; the time limit
#   output   what the command printed
#   room     nothing but room for the result, in case the command fills the disk
#   result   "WORD VALUE BOOT EPOCH UPTIME", a text, "end": how it ended, and when
#   stopped  empty: it was stopped before it began, and never will
# What may not outlive the machine's life is in $stage/NAME, in memory: the command, which may hold secrets, and
#   asked    empty: somebody asked it to stop
#   none     empty: takes the command's place when the shell has that open
guards=$root/var/lib/stevedore/tasks
stage=$root/run/stevedore/tasks

# named NAME: whether this is the name of an attempt.
named() {
    case $1 in
    *[!0-9a-f.-]* | *.*.* | .* | *.) false ;;
    *.*) true ;;
    *) false ;;
    esac
}

# unit_of NAME: prints the name of its unit.
unit_of() { printf 'stevedore-task-%s.service\n' "$1"; }

# last_words FILE: prints the last line of a file that says something, without a line break.
last_words() { tail -c 1000 "$1" 2>/dev/null | tr '\000' ' ' | grep . | tail -n 1 | cut -c 1-200; }

# conclude NAME WORD VALUE TEXT: writes down how an attempt ended, whole or not at all, and takes its command away.
conclude() {
    write_down "$guards/$1" "$2 $3" "$4"
    written=$?
    rm -rf "${stage:?}/$1"
    [ "$written" -eq 0 ] && to_disk "$guards/$1/result" "$guards/$1"
    return "$written"
}

# forestall NAME: writes down that an attempt will never begin.
forestall() {
    true >"$guards/$1/stopped" || return
    limited 20 sync "$guards/$1/stopped" "$guards/$1" "$guards"
}

# not_begun NAME TEXT: writes down that the command was not started: it was stopped before, or TEXT says why.
not_begun() {
    if [ -e "$stage/$1/asked" ] || [ -e "$guards/$1/stopped" ]; then
        forestall "$1" && rm -rf "${stage:?}/$1"
    else
        conclude "$1" failed - "$2"
    fi
}

# active_units: prints "NAME STATE" of each unit of ours that runs or is about to, those of updates too; else what
# systemctl complains of.
active_units() {
    have systemctl || { echo 'there is no such program' && return 1; }
    shown=$(limited 20 systemctl show -p Id,ActiveState,Job -- 'stevedore-task-*.service' 'stevedore-update-*.service' 2>&1)
    code=$?
    [ "$code" -eq 0 ] || { echo "exit code $code: $(last_line "$shown")" && return 1; }
    printf '%s\n\n' "$shown" | {
        name=
        state=
        job=
        while IFS= read -r entry; do
            case $entry in
            Id=*) name=${entry#Id=} ;;
            ActiveState=*) state=${entry#ActiveState=} ;;
            Job=*) job=${entry#Job=} ;;
            '')
                case $name/$state/$job in
                /* | */inactive/ | */failed/) ;;
                *) printf '%s %s\n' "$name" "$state" ;;
                esac
                name=
                state=
                job=
                ;;
            esac
        done
    }
}
