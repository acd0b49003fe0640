# update_look NAME: what became of the update that an operation wanted.
#
# boot ID | clock EPOCH UPTIME | unit STATE | problem PROGRAM TEXT
# guard BOOT EPOCH UPTIME | guard - EPOCH - (nothing but the folder itself tells its age)
# result WORD MANAGER PACKAGES PENDING REBOOT BOOT EPOCH UPTIME TEXT
record script update_look 1
guard=$guards/$1
record boot "$(boot_id 2>/dev/null)"
# In this order: before the unit is started there is a guard, and when it has gone there is a result. And a guard looks too
# young rather than too old.
record clock "$(date +%s)" "$(uptime)"

# tell_unit STATE JOB: tells of the unit if it runs or is about to.
tell_unit() {
    case $1/$2 in
    / | inactive/ | failed/) ;;
    *) record unit "$1" ;;
    esac
}

if have systemctl; then
    # Of a pattern systemd tells only what is loaded. Without systemd nothing was started.
    shown=$(limited 20 systemctl show -p ActiveState,Job -- "$(unit_of "$1")*" 2>&1)
    code=$?
    if [ "$code" -eq 0 ]; then
        tell_unit "$(printf '%s\n' "$shown" | sed -n 's/^ActiveState=//p')" "$(printf '%s\n' "$shown" | sed -n 's/^Job=//p')"
    else
        record problem systemctl "exit code $code: $(last_line "$shown")"
    fi
fi

up=
{ read -r boot epoch up <"$guard/boot"; } 2>/dev/null
if [ -n "$up" ]; then
    record guard "$boot" "$epoch" "$up"
elif changed=$(stat -c %Y "$guard" 2>/dev/null); then
    record guard - "$changed" -
fi

{
    read -r word manager packages pending reboot boot epoch up && IFS= read -r text && read -r last && [ "$last" = end ] &&
        record result "$word" "$manager" "$packages" "$pending" "$reboot" "$boot" "$epoch" "$up" "$text"
} 2>/dev/null <"$guard/result"
record end
