# task_unit before|begun|ended NAME: what the unit of an attempt runs besides the command, as root.
#
# It is kept in a file and prints nothing: its output would be the command's.
name=$2
guard=$guards/$name
own=$stage/$name

# outlasted: whether the command had all the time that it might take.
outlasted() {
    { read -r _ _ made seconds <"$guard/boot"; } 2>/dev/null || return
    now=$(uptime)
    [ $((${now%.*} - ${made%.*})) -ge "$seconds" ]
}

# never_began: the command was not started, because it was asked to stop before or because it cannot be.
never_began() {
    why=$(last_words "$guard/output")
    not_begun "$name" "${why:-systemd could not set it up; in the guest, journalctl -u $(unit_of "$name") says why}"
}

# over CODE STATUS RESULT: the command ran, and ended as systemd tells.
over() {
    if [ -e "$own/asked" ]; then
        conclude "$name" stopped - ''
    # Of a command that ended by itself, systemd says so too when something that it left behind had to be killed.
    elif [ "$3" = timeout ] && outlasted; then
        conclude "$name" timed-out - ''
    elif [ "$1" = exited ]; then
        conclude "$name" exited "$2" ''
    else
        conclude "$name" signalled "$2" ''
    fi
}

case $1 in
# Whoever stops an attempt leaves a mark before asking for its unit, which may not have been there yet. The first mark goes
# when the second is there.
before) [ ! -e "$own/asked" ] && [ ! -e "$guard/stopped" ] ;;
# The shell has its command open by now, and what else the unit runs needs something to open, too. Cutting the file itself short
# could cut off what the shell has not read yet, and a new file needs room that there may not be.
begun) mv "$own/none" "$own/command" ;;
# systemd allows 30 s for this, as for a command that was asked to end; it takes half of that where programs hang.
ended)
    case ${EXIT_CODE-}/$(limited 5 systemctl is-system-running 2>/dev/null) in
    # A machine that goes down takes the command with it. That is no end of its own, so nothing is written down.
    */stopping) rm -rf "$own" ;;
    /*) never_began ;;
    *) over "$EXIT_CODE" "$EXIT_STATUS" "${SERVICE_RESULT-}" ;;
    esac
    ;;
esac 2>/dev/null
