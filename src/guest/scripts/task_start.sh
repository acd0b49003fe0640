# task_start NAME PIECES USER SECONDS TEXT: begins an attempt, unless that was done before or it was stopped.
#
# Its command is in PIECES pieces: the last one is on standard input, the others are staged. The first line of each is
# "KEY BYTES", alike in all: which command it is of, and how long that is. The command may run for SECONDS. TEXT is the
# script task_unit.
#
# started NAME | guarded NAME | incomplete NAME (stage all pieces again) | unsure NAME (it may have been started)
# problem PROGRAM TEXT
record script task_start 1
name=$1
pieces=$2
user=$3
seconds=$4
guard=$guards/$name
own=$stage/$name
unit=$(unit_of "$name")

# put_together: prints the whole command, without the first lines of its pieces.
put_together() {
    number=1
    while [ "$number" -lt "$pieces" ]; do
        { read -r found _ && [ "$found" = "$key" ] && cat; } <"$own/piece.$number" || return
        number=$((number + 1))
    done
    cat
}

# fetched: leaves the whole command in a file of this script's own.
fetched() {
    read -r key bytes && put_together >"$own/command.$$" && size=$(wc -c <"$own/command.$$") && [ "$size" -eq "$bytes" ]
}

# clear_pieces: takes away what was staged. Whoever then finds some of it gone finds a guard, too.
clear_pieces() {
    set +f
    rm -f "$own"/piece.* "$own/command.$$"
    set -f
    rmdir "$own"
} 2>/dev/null

# kept: brings the guard to the disk, with what tells its age.
kept() {
    made=$(moment) && true >"$guard/output" && keep "$guard" "$made $seconds"
} 2>/dev/null

# ready TEXT: leaves in memory what the unit needs. What may be missing at the end is made here, where it can be refused.
ready() {
    mv "$own/command.$$" "$own/command" && printf '%s' "$1" >"$own/unit" && true >"$own/none"
} 2>/dev/null

# unknown_user: whether there is certainly no such user.
unknown_user() {
    have getent || return
    limited 10 getent passwd "$user" >/dev/null 2>&1
    [ $? -eq 2 ]
}

# Nothing that becomes of the command's file ends the command. And what systemd gets has nothing in it that it would expand;
# the words of the command are for the shell in the unit.
run_unit() {
    limited 15 systemd-run --quiet --no-block --collect --unit="$unit" --description="Stevedore task $name" \
        --service-type=exec -p User="$user" -p RuntimeMaxSec="$seconds" -p TimeoutStartSec=60 -p TimeoutStopSec=30 \
        -p StandardInput="file:$own/command" \
        -p StandardOutput="append:$guard/output" -p StandardError="append:$guard/output" \
        -p ExecStartPre="+/bin/sh $own/unit before $name" -p ExecStartPre="/bin/sh -s check" \
        -p ExecStartPost="-+/bin/sh $own/unit begun $name" -p ExecStopPost="+/bin/sh $own/unit ended $name" \
        -- /bin/sh -s run
}

# refuse TEXT: the attempt ends before its command could be started.
refuse() {
    if not_begun "$name" "$1" 2>/dev/null; then
        record started "$name"
    else
        record problem sh "$1, which could not be written down either"
    fi
}

# begin TEXT: starts the unit. The guard stands, so that whatever fails from here on is an end of this attempt.
begin() {
    if ! kept; then
        refuse 'its guard could not be brought to the disk'
    elif unknown_user; then
        refuse "the guest has no user $user"
    elif ! ready "$1"; then
        refuse "its command could not be written to $own"
    elif ! in_time "${made##* }"; then
        refuse 'it took too long to bring its guard to the disk'
    else
        clear_pieces
        said=$(run_unit </dev/null 2>&1)
        code=$?
        case $code in
        0) record started "$name" ;;
        124) record unsure "$name" ;;
        *) refuse "systemd does not take it (exit code $code): $(last_line "$said")" ;;
        esac
    fi
}

unfit=$(unfit_systemd)
if [ -n "$unfit" ]; then
    record problem systemd-run "$unfit"
elif [ -d "$guard" ]; then
    clear_pieces
    record guarded "$name"
elif ! said=$(mkdir -p "$guards" "$own" 2>&1); then
    record problem mkdir "$(last_line "$said")"
elif fetched 2>/dev/null && said=$(mkdir "$guard" 2>&1); then
    begin "$5"
elif [ -d "$guard" ]; then
    clear_pieces
    record guarded "$name"
elif [ -n "$said" ]; then
    record problem mkdir "$(last_line "$said")"
else
    rm -f "$own/command.$$"
    record incomplete "$name"
fi
record end
