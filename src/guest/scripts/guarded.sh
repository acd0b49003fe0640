# Stands after common.sh, and before tasks.sh or updates.sh: what attempts at tasks and updates have in common. Each has a
# guard, a folder on the disk that is made before anything is started; a unit of systemd, which does the work; and a folder in
# memory for what may not outlive it.
umask 077

# unfit_systemd: prints why the systemd here cannot run what is wanted of it; nothing if it can.
#
# From 240 on it appends to a file, from 243 on a transient unit has commands that run as root though it is not root's; 245 is
# the oldest that anybody tried.
unfit_systemd() {
    { have systemctl && have systemd-run; } || { echo 'systemd is not there' && return; }
    version=$(systemd_version)
    [ "${version:-245}" -ge 245 ] || echo "systemd has version $version here, and 245 is the oldest that will do"
}

# keep GUARD TEXT: brings a new guard to the disk, with TEXT to tell its age, and with room for its result.
keep() {
    printf '%s\n' "$2" >"$1/boot" && printf '%8192s' '' >"$1/room" &&
        limited 30 sync "$1/boot" "$1/room" "$1" "$1/.." "$1/../.." "$1/../../.."
} 2>/dev/null

# in_time UPTIME: whether a unit may still be started behind the guard that was made then. A minute after that, one without a
# unit counts as lost.
in_time() {
    now=$(uptime)
    [ $((${now%.*} - ${1%.*})) -lt 40 ]
}

# write_down GUARD RECORD TEXT: writes how it ended and when, whole or not at all.
write_down() {
    rm -f "$1/room"
    printf '%s %s\n%s\nend\n' "$2" "$(moment)" "$3" >"$1/result.$$" && mv "$1/result.$$" "$1/result" && return
    rm -f "$1/result.$$"
    return 1
}

# to_disk FILE...: waits until they are on the disk, though not for long. It comes last: while a disk hangs so does this, until
# systemd kills it, and a result that is written down counts all the same, unless the machine loses its power now. One that is
# torn then has no end, and nobody takes it for a result.
to_disk() { limited 10 sync "$@" 2>/dev/null; }
