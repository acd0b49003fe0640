# update_reboot BOOT: reboots the guest two seconds later if this is still its boot, so that it is done once however often it
# is asked for.
#
# asked BOOT | over BOOT (another one has begun) | unsure BOOT (it may have been asked) | problem PROGRAM TEXT
record script update_reboot 1
present=$(boot_id 2>/dev/null)
if [ "$present" != "$1" ]; then
    record over "$present"
elif ! have reboot; then
    record problem reboot 'there is no such program'
else
    # A reboot at once would take the agent along before anybody has read the answer.
    said=$(limited 20 systemd-run --quiet --collect --unit=stevedore-reboot --description='Stevedore reboot' --on-active=2 \
        --timer-property=AccuracySec=100ms reboot 2>&1)
    case $?:$said in
    # Of that name there is one already: it was asked before.
    0:* | *' already '* | *' exists'*) record asked "$present" ;;
    124:*) record unsure "$present" ;;
    *) record problem reboot "$(last_line "$said")" ;;
    esac
fi
record end
