#!/bin/sh
# dnf [--config=FILE] [OPTION]... upgrade | check-update
facts=$STEVEDORE_ROOT/facts/updates
of() { sed -n "s/^$1 //p" "$facts"; }
config=/dev/null
for word; do
    case $word in
    --config=*) config=${word#--config=} ;;
    -*) ;;
    *) action=$word ;;
    esac
done

if [ "$action" = check-update ]; then
    left=$(of held-back)
    [ "$left" -eq 0 ] && exit 0
    for number in $(seq "$left"); do
        echo "held-$number.noarch          2.0-1          lab"
    done
    exit 100
fi

holder=$(of lock)
if [ -n "$holder" ]; then
    echo "Waiting for process with pid ${holder%% *} to finish."
    exec sleep 600
fi
why=$(of fails)
proxy=$(of proxy)
[ -z "$proxy" ] || grep -qxF "proxy=$proxy" "$config" || why=$(of no-way)
if [ -n "$why" ]; then
    echo "Error: $why" >&2
    exit 1
fi
sleep "$(of takes)"
count=$(of pending)
installed=$STEVEDORE_ROOT/var/lib/installed
[ "$(cat "$installed" 2>/dev/null)" != "$(cat "$facts")" ] || count=0
cat "$facts" >"$installed"
if [ "$count" -eq 0 ]; then
    echo 'Nothing to do.'
else
    [ "$(of reboot)" != true ] || true >"$STEVEDORE_ROOT/run/core-updated"
    printf 'Transaction Summary\n====\nUpgrade  %s Packages\n\nComplete!\n' "$count"
fi
