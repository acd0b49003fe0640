#!/bin/sh
# needs-restarting -r
if [ -e "$STEVEDORE_ROOT/run/core-updated" ]; then
    echo 'Core libraries or services have been updated since boot-up:'
    echo 'Reboot is required to fully utilize these updates.'
    exit 1
fi
echo 'Reboot should not be necessary.'
