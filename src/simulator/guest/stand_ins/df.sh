#!/bin/sh
# df -P -k FOLDER
while [ $# -gt 1 ]; do shift; done
read -r total used free <"$STEVEDORE_ROOT/facts/disk"
echo 'Filesystem     1024-blocks    Used Available Capacity Mounted on'
echo "/dev/sda1 $total $used $free 50% $1"
