# update_reboot BOOT: reboots the guest if this is still its boot, so that it is done once however often it is asked for.
#
# asked BOOT | over BOOT (another one has begun) | problem PROGRAM TEXT
record script update_reboot 1
present=$(boot_id 2>/dev/null)
if [ "$present" != "$1" ]; then
    record over "$present"
elif ! have reboot; then
    record problem reboot 'there is no such program'
elif said=$(limited 20 reboot 2>&1); then
    record asked "$present"
else
    record problem reboot "$(last_line "$said")"
fi
record end
