#!/bin/sh
# usage: tools/fetch-ovs.sh
# Make .cache/ovs-switch and .cache/ovs-common: Open vSwitch's programs (9 MB), whose user-space datapath the
# virtual switch is measured beside.  They are run from there; installed, they would start a service.
set -eu
cd "$(dirname "$0")/.."
. tools/lib.sh
tools/fetch-deb.sh openvswitch-switch "$cache/ovs-switch" usr/lib/openvswitch-switch/ovs-vswitchd \
    usr/bin/ovs-vsctl usr/share/openvswitch/vswitch.ovsschema
tools/fetch-deb.sh openvswitch-common "$cache/ovs-common" usr/sbin/ovsdb-server usr/bin/ovsdb-tool
"$cache/ovs-switch/usr/lib/openvswitch-switch/ovs-vswitchd" --version >/dev/null ||
    die "Open vSwitch does not run here. Try: tools/setup.sh, which installs its libraries."
