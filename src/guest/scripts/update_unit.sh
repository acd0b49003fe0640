# update_unit run|ended NAME: what the unit of an update runs, as root and out of a file. Its output is kept.
name=$2
own=$stage/$name
manager=none
have dnf && manager=dnf
have apt-get && manager=apt
packages=0
pending=0

# size: prints how much was printed so far.
size() { stat -c %s "$own/output"; }

# said: prints what the program printed that ran last, of very much only the end.
said() {
    [ "$(size)" -ge "$begun" ] || begun=0
    tail -c "+$((begun + 1))" "$own/output"
}

# bounded: sees to it that what is printed does not fill the memory. Who prints appends, so the file can be cut under its hands:
# in between two lines, for half a password nobody would know, and the end comes back in one write, so that no line mixes with it.
bounded() {
    while sleep 2; do
        [ "$(size)" -gt 4194304 ] || continue
        tail -c 65536 "$own/output" | sed 1d >"$own/end"
        true >"$own/output"
        cat "$own/end" >>"$own/output"
    done
} 2>/dev/null

# patient PROGRAM...: runs it, again and again while somebody else has a lock that it wants: not every lock is waited for.
patient() {
    mended=
    while :; do
        begun=$(size)
        code=0
        "$@" || code=$?
        [ "$code" -ne 0 ] || return 0
        case $(said) in
        *'ould not get lock'* | *'is another process using it'* | *'Another transaction is in progress'*) sleep 5 ;;
        *'dpkg was interrupted'*)
            [ -z "$mended" ] || return "$code"
            mended=yes
            dpkg --force-confdef --force-confold --configure -a
            ;;
        *) return "$code" ;;
        esac
    done
}

# The configuration is read last, so that it goes before the guest's own. Configuration files that were edited stay.
apt_as() {
    [ -s "$own/apt.conf" ] && set -- -c "$own/apt.conf" "$@"
    apt-get -q -y -o DPkg::Lock::Timeout=20 -o APT::Update::Error-Mode=any -o APT::Keep-Downloaded-Packages=false \
        -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "$@"
}

by_apt() {
    # Nobody is there to be asked, and a service that apt restarts in the middle may be this one.
    DEBIAN_FRONTEND=noninteractive
    APT_LISTCHANGES_FRONTEND=none
    NEEDRESTART_SUSPEND=yes
    UCF_FORCE_CONFFOLD=yes
    export DEBIAN_FRONTEND APT_LISTCHANGES_FRONTEND NEEDRESTART_SUSPEND UCF_FORCE_CONFFOLD
    if [ -s "$own/proxy" ]; then
        read -r url <"$own/proxy"
        printf 'Acquire::http::Proxy "%s";\nAcquire::https::Proxy "%s";\n' "$url" "$url" >"$own/apt.conf"
    fi
    patient apt_as update || return
    case $(said) in
    *'index files failed to download'*) return 1 ;;
    esac
    # A new kernel is a new package, and of the old ones those go that apt itself does not keep, or /boot fills in time: nothing
    # else is removed. And what an update left half unpacked that was cut off is mended on the way.
    patient apt_as -o APT::Get::Fix-Broken=true -o APT::Get::AutomaticRemove::Kernels=true --with-new-pkgs upgrade || return
    counts=$(said | sed -n -e 's/^\([0-9]*\) upgraded, .* and \([0-9]*\) not upgraded.*/\1 \2/p' \
        -e 's/^ *Upgrading: \([0-9]*\), .*Not Upgrading: \([0-9]*\).*/\1 \2/p' | tail -n 1)
    packages=${counts% *}
    pending=${counts#* }
}

dnf_as() {
    [ -s "$own/dnf.conf" ] && set -- "--config=$own/dnf.conf" "$@"
    dnf "$@"
}

# dnf_conf: prints the guest's own configuration with the proxy instead of the one that it names.
dnf_conf() {
    # shellcheck disable=SC2002 # files are read with cat only
    cat "$root/etc/dnf/dnf.conf" 2>/dev/null | awk '
        NR == FNR { url = $0; next }
        /^\[/ { main = /^\[main\]/ }
        main && /^proxy/ { next }
        { print }
        /^\[main\]/ { print "proxy=" url; given = 1 }
        END { if (!given) print "[main]\nproxy=" url }' "$own/proxy" -
}

by_dnf() {
    [ -s "$own/proxy" ] && dnf_conf >"$own/dnf.conf"
    patient dnf_as -y --refresh upgrade || return
    case $(said) in
    *'Ignoring repositories'*) return 1 ;;
    esac
    # A new kernel is installed beside the old one, not upgraded.
    packages=$(said | sed -n -e 's/^ *Install[a-z]*:* *\([0-9][0-9]*\) [Pp]ackage.*/\1/p' \
        -e 's/^ *Upgrad[a-z]*:* *\([0-9][0-9]*\) [Pp]ackage.*/\1/p' | awk '{ sum += $1 } END { print sum + 0 }')
    pending=$(left_over)
}

# left_over: prints of how many packages there is a newer version all the same. Whoever locks or excludes a package has dnf say
# nothing of it, unless that is put aside: dnf 4 knows "all", dnf 5 "*". Where it does not take that, it is asked plainly.
left_over() {
    code=0
    list=$(dnf_as -q -C --disableplugin=versionlock --setopt=disable_excludes=all,\* check-update 2>/dev/null) || code=$?
    case $code in
    0 | 100) ;;
    *) list=$(dnf_as -q -C check-update 2>/dev/null) ;;
    esac
    printf '%s\n' "$list" | awk '/^Obsoleting/ { exit } /^[^ ]+[.][^ ]+ / { left++ } END { print left + 0 }'
}

by_none() { echo 'the guest has neither apt-get nor dnf' && return 1; }

# kernels: prints each kernel with the moment at which its file was written.
kernels() {
    set +f
    for file in "$root"/boot/vmlinuz-*; do
        [ -e "$file" ] && stat -c '%n %Z' "$file"
    done
    set -f
}

# reboot_needed: prints whether what was installed needs a reboot. At the end of a unit it takes half of the 90 s that systemd
# allows for that.
reboot_needed() {
    if [ -e "$root/run/reboot-required" ] || [ -e "$root/var/run/reboot-required" ]; then
        echo yes && return
    elif kernels | grep -q -v -x -F -f "$own/kernels" 2>/dev/null; then
        echo yes && return
    elif have needs-restarting; then
        hint=$(limited 45 needs-restarting -r 2>/dev/null)
    elif have dnf; then
        hint=$(limited 45 dnf needs-restarting -r 2>/dev/null)
    else
        hint=
    fi
    case $hint in
    *'Reboot is required'*) echo yes ;;
    *) echo no ;;
    esac
}

# in_one_line: joins lines, and cuts what is too long.
in_one_line() { tr '\000' ' ' | awk '{ printf "%s%s", (NR > 1 ? "; " : ""), $0 } END { print "" }' | cut -c 1-500; }

# complaints: prints what the package manager complained of last; else the last thing that it said.
complaints() {
    last=$(printed "$name" | tail -c 65536 |
        grep -a -E '^(E|W|Error|Failed|Problem)[: ]|^dpkg: error|subprocess returned error|Curl error' | tail -n 3 | sed -e 's/^[EW]: //' -e 's/^ *//')
    [ -n "$last" ] || last=$(printed "$name" | tail -c 4096 | grep -a . | tail -n 1)
    printf '%s\n' "$last" | in_one_line
}

# waited_for: prints who has the lock that it waited for when its time was over.
waited_for() {
    printed "$name" | tail -n 12 | sed -n -e 's/.*\(Could not get lock.*held by process.*\)/\1/p' -e '/^Waiting for process/p' \
        -e '/currently accessing/,/^Use the/s/^[0-9]/it waits for the process &/p' | tail -n 1 | in_one_line
}

run() {
    kernels >"$own/kernels"
    bounded &
    watch=$!
    word=failed
    text=
    if "by_$manager"; then word='done'; else text=$(complaints); fi
    printf '%s %s %s %s %s\n%s\n' "$word" "$manager" "${packages:-0}" "${pending:-0}" "$(reboot_needed)" "$text" >"$own/new"
    mv "$own/new" "$own/verdict"
    kill "$watch"
}

ended() {
    if { read -r verdict && IFS= read -r text; } 2>/dev/null <"$own/verdict"; then
        conclude "$name" "$verdict" "$text"
    elif [ "$(limited 5 systemctl is-system-running 2>/dev/null)" = stopping ]; then
        # A machine that goes down takes the update with it, so nothing is written down.
        rm -rf "${stage:?}/$name"
    elif [ "${SERVICE_RESULT-}" = timeout ]; then
        conclude "$name" "timed-out $manager 0 0 $(reboot_needed)" "$(waited_for)"
    else
        text=$(complaints)
        text="it was ended by ${EXIT_STATUS:-systemd}${text:+ after it said: $text}"
        conclude "$name" "failed $manager 0 0 $(reboot_needed)" "$text"
    fi
}

case $1 in
run) run ;;
ended) ended ;;
esac
