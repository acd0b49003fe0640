# task_stop NAME: stops an attempt, or sees to it that it never begins. Does not wait for its end.
#
# asked NAME | forestalled NAME | problem PROGRAM TEXT
record script task_stop 1
name=$1
unit=$(unit_of "$name")

# forestalled: whether nobody has begun it, and nobody will.
forestalled() {
    mkdir -p "$guards" && mkdir "$guards/$name" && printf '%s -\n' "$(moment)" >"$guards/$name/boot" && forestall "$name"
}

# asked: leaves word for a unit that is about to be started, then has systemd stop it: SIGTERM, and SIGKILL after 30 s.
asked() {
    mkdir -p "$stage/$name" && true >"$stage/$name/asked" && limited 20 systemctl stop --no-block -- "$unit"
}

if ! have systemctl; then
    record problem systemctl 'there is no such program'
elif said=$(forestalled 2>&1); then
    record forestalled "$name"
elif [ ! -d "$guards/$name" ]; then
    record problem mkdir "$(last_line "$said")"
elif [ -e "$guards/$name/stopped" ]; then
    record forestalled "$name"
elif [ -e "$guards/$name/result" ]; then
    record asked "$name"
else
    said=$(asked 2>&1)
    case $?:$said in
    0:* | 5:* | *' not loaded.'*) record asked "$name" ;;
    *) record problem systemctl "$(last_line "$said")" ;;
    esac
fi
record end
