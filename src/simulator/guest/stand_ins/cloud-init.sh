#!/bin/sh
# cloud-init status
read -r word <"$STEVEDORE_ROOT/facts/cloud-init"
echo "status: $word"
