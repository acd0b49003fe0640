# Stands after guarded.sh in front of the scripts that deal with updates of the guest's packages.
#
# Each update, named by the operation that wants it, has a guard: the folder $guards/NAME. It is made once, before
# anything is started, and who finds it there starts nothing. It is on the disk and has
#   boot     "BOOT EPOCH UPTIME": in which life of the machine it was made and when, by both clocks
#   output   the end of what the package manager printed
#   room     nothing but room for the result, in case the packages fill the disk
#   result   "WORD MANAGER PACKAGES PENDING REBOOT BOOT EPOCH UPTIME", a text, "end": how it ended, and when
# What may not outlive the update is in $stage/NAME, in memory:
#   unit     what its unit runs
#   proxy    the URL of the proxy, which may hold a password
#   hide     words that must not show in what is kept, one a line
#   output   what the package manager printed, of very much only the end
#   verdict  "WORD MANAGER PACKAGES PENDING REBOOT", a text: how it ended, while the unit has not
guards=$root/var/lib/stevedore/updates
stage=$root/run/stevedore/updates

# unit_of NAME: prints the name of its unit.
unit_of() { printf 'stevedore-update-%s.service\n' "$1"; }

# printed NAME: prints what the package manager printed, without the words that nobody may see. What is to be cut is cut
# afterwards: of a word that is cut off nobody knows what it was.
printed() {
    if [ -s "$stage/$1/hide" ]; then
        awk 'NR == FNR { if ($0 != "") hide[++last] = $0; next }
            {
                for (i = 1; i <= last; i++) {
                    shown = ""
                    while ((at = index($0, hide[i])) > 0) {
                        shown = shown substr($0, 1, at - 1) "***"
                        $0 = substr($0, at + length(hide[i]))
                    }
                    $0 = shown $0
                }
                print
            }' "$stage/$1/hide" "$stage/$1/output"
    else
        cat "$stage/$1/output"
    fi
} 2>/dev/null

# keep_output NAME: brings what was printed into the guard, as much of its end as there is room for.
keep_output() {
    for bytes in 262144 16384 4096; do
        tail -c "$bytes" "$stage/$1/printed" >"$guards/$1/output" && return
        rm -f "$guards/$1/output"
    done
} 2>/dev/null

# conclude NAME VERDICT TEXT: writes down how an update ended, whole or not at all, and takes away what may not outlive it,
# whatever becomes of the rest; the secrets before anything is asked of the disk.
conclude() {
    printed "$1" | tail -c 262144 >"$stage/$1/printed"
    rm -f "$stage/$1/output" "$stage/$1/proxy" "$stage/$1/hide" "$stage/$1/apt.conf" "$stage/$1/dnf.conf"
    write_down "$guards/$1" "$2" "$3"
    written=$?
    keep_output "$1"
    rm -rf "${stage:?}/$1"
    [ "$written" -eq 0 ] && to_disk "$guards/$1/result" "$guards/$1"
    return "$written"
}
