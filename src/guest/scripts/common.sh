# Stands in front of every script. POSIX sh and ASCII only: dash, busybox sh and bash must all take it.
#
# A script prints records, one a line, fields separated by tabs; the first is "script NAME 1", the last "end". Inside a
# field a backslash is written \\, a tab \t and a line break \n; any other byte outside printable ASCII becomes "?".
#
# Programs are found by name and files are read with cat only. With STEVEDORE_ROOT set, both come from below that
# folder: that is how a simulated guest stands in for a machine.
set -u -f
LC_ALL=C
root=${STEVEDORE_ROOT-}
if [ -n "$root" ]; then
    PATH=$root/bin
else
    PATH=${PATH:+$PATH:}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
fi
export LC_ALL PATH
tab=$(printf '\t')

# have PROGRAM: whether it is there.
have() { command -v "$1" >/dev/null 2>&1; }

# escape TEXT: prints it as one field.
escape() {
    printf '%s' "$1" | sed -e 's/\\/\\\\/g' -e "s/$tab/\\\\t/g" -e '$!s/$/\\n/' | tr -d '\n' | tr -c ' -~' '?'
}

# record FIELD...: prints a record in one write, so that records of background jobs do not mix.
record() {
    line=
    for field; do
        case $field in
        *[!\ -~]* | *\\*) field=$(escape "$field") ;;
        esac
        line=$line${line:+$tab}$field
    done
    printf '%s\n' "$line"
}

# limited SECONDS PROGRAM...: runs it and ends it after SECONDS. Exit code 124 if it was ended.
limited() {
    seconds_left=$1
    shift
    code=0
    if have timeout; then
        timeout "$seconds_left" "$@" || code=$?
    else
        "$@" &
        job=$!
        { sleep "$seconds_left" && kill "$job"; } >/dev/null 2>&1 &
        watch=$!
        wait "$job" || code=$?
        kill "$watch" 2>/dev/null
    fi
    # Killed by a signal: GNU timeout says 124, busybox and the shell 128 + the signal's number.
    case $code in
    137 | 143) code=124 ;;
    esac
    return "$code"
}

# last_line TEXT: the last line of a program's complaint, cut to a bearable length.
last_line() { printf '%s\n' "$1" | tail -n 1 | cut -c 1-200; }

# systemd_version: prints the number of its version; nothing without an answer.
systemd_version() { limited 10 systemctl --version </dev/null 2>/dev/null | sed -n '1s/^systemd \([0-9][0-9]*\).*/\1/p'; }

# boot_id: prints in which life of the machine this is.
boot_id() { cat "$root/proc/sys/kernel/random/boot_id"; }

# uptime: prints for how long the machine has been up, in seconds with a fraction. This clock never jumps.
uptime() {
    read -r up _ <"$root/proc/uptime"
    printf '%s\n' "$up"
}

# moment: prints "BOOT EPOCH UPTIME".
moment() { printf '%s %s %s\n' "$(boot_id)" "$(date +%s)" "$(uptime)"; }
