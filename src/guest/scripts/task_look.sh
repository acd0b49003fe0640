# task_look: all attempts of this guest, and its units that run one.
#
# boot ID | clock EPOCH UPTIME | unit NAME STATE | problem PROGRAM TEXT
# guard NAME held|stopped BOOT EPOCH UPTIME | guard NAME held|stopped - EPOCH - (nothing but the folder itself tells its age)
# result NAME WORD VALUE BOOT EPOCH UPTIME TEXT
record script task_look 1
record boot "$(boot_id 2>/dev/null)"
# In this order: before a unit is started there is a guard, and when it has gone there is a result. And a guard looks too
# young rather than too old.
record clock "$(date +%s)" "$(uptime)"
if units=$(active_units); then
    printf '%s\n' "$units" | while read -r unit state; do
        [ -n "$unit" ] && record unit "$unit" "$state"
    done
else
    record problem systemctl "$units"
fi

# guard NAME: tells of one guard.
guard() {
    mark=held
    [ -e "$guards/$1/stopped" ] && mark=stopped
    up=
    { read -r boot epoch up _ <"$guards/$1/boot"; } 2>/dev/null
    if [ -n "$up" ]; then
        record guard "$1" "$mark" "$boot" "$epoch" "$up"
    elif changed=$(stat -c %Y "$guards/$1" 2>/dev/null); then
        record guard "$1" "$mark" - "$changed" -
    fi
}

# result NAME: tells how it ended, if that is written down.
result() {
    {
        read -r word value boot epoch up && IFS= read -r text && read -r last && [ "$last" = end ] &&
            record result "$1" "$word" "$value" "$boot" "$epoch" "$up" "$text"
    } <"$guards/$1/result"
} 2>/dev/null

set +f
for folder in "$guards"/*; do
    name=${folder##*/}
    named "$name" && [ -d "$folder" ] && guard "$name" && result "$name"
done
set -f
record end
