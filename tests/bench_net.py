"""The `net` table of `make bench`: frames a second through the virtual switch.

In memory: one thread, 64-byte frames in bursts of 32 that already lie in memory, nobody copies them
(copy64, copy1500: each receiver does).  Beside it, what this machine's Linux forwards between two
veth pairs in a network namespace of its own: a sender with sendmmsg at one end, a count at the other,
and between them the Linux bridge, Open vSwitch's user-space datapath, or our switch in a process that
reads and writes the same interfaces by AF_PACKET.  That second comparison measures mostly the way
through veth and AF_PACKET, which all three share, on two CPUs that sender and switch share.  There is
no target: figures depend on the machine and on what else it does.
"""
import os
import shutil
import subprocess
import tempfile

SECONDS = 3  # a measurement
CACHE = os.path.abspath(os.environ.get("BULKHEAD_CACHE", ".cache"))  # what tools/fetch-ovs.sh has made
OVS_PATH = ":".join(f"{CACHE}/{path}" for path in ("ovs-switch/usr/lib/openvswitch-switch", "ovs-switch/usr/bin",
                                                   "ovs-common/usr/sbin", "ovs-common/usr/bin"))
PROGRAM = "build/bench/switch"


def in_namespace(script):
    """Runs a shell script as root of a fresh network namespace; its output."""
    try:
        done = subprocess.run(["unshare", "-n", "sh", "-e", "-c", script], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=100, check=False)
    except (OSError, subprocess.TimeoutExpired) as why:
        return str(why)
    return done.stdout.decode(errors="replace")


SET_UP = """
ip link add a0 type veth peer name a1
ip link add b0 type veth peer name b1
for i in a0 a1 b0 b1; do
    echo 1 >/proc/sys/net/ipv6/conf/$i/disable_ipv6 || true
    ip link set $i up promisc on
done
"""
MEASURE = f"""
count() {{ sed -n 's/^ *b0: *[0-9]* *\\([0-9]*\\).*/\\1/p' /proc/net/dev; }}
before=$(count)
{PROGRAM} --send a0 $seconds
echo received $(($(count) - before))
"""
BRIDGE = "ip link add br0 type bridge forward_delay 0; ip link set a1 master br0; ip link set b1 master br0\n" \
         "ip link set br0 up; sleep 0.2\n"
OURS = f"{PROGRAM} a1 b1 & switch=$!\ntrap 'kill $switch' EXIT\nsleep 0.5\n"
OVS = f"""
export PATH={OVS_PATH}:$PATH
schema={CACHE}/ovs-switch/usr/share/openvswitch/vswitch.ovsschema
export OVS_RUNDIR=$dir OVS_DBDIR=$dir OVS_LOGDIR=$dir OVS_SYSCONFDIR=$dir
ovsdb-tool create $dir/db $schema
ovsdb-server $dir/db --remote=punix:$dir/db.sock --pidfile=$dir/db.pid --detach --log-file=$dir/db.log
ovs-vswitchd unix:$dir/db.sock --pidfile=$dir/sw.pid --detach --log-file=$dir/sw.log
ovs-vsctl --db=unix:$dir/db.sock add-br br0 -- set bridge br0 datapath_type=netdev
ovs-vsctl --db=unix:$dir/db.sock add-port br0 a1 -- add-port br0 b1
"""
# The folder can go when both daemons have: tail waits for the end of a process.
OVS_TRAP = ("trap 'for p in $(cat $dir/sw.pid $dir/db.pid); do "
            "kill $p; timeout 10 tail --pid=$p -f /dev/null; done' EXIT\n")


def mpps(output, seconds):
    for line in output.splitlines():
        if line.startswith("received "):
            return round(int(line.split()[1]) / seconds / 1e6, 3)
    return None


def between_interfaces(seconds):
    rows = {}
    cases = [("ours", OURS), ("linux_bridge", BRIDGE)]
    if not os.path.exists("/dev/net/tun"):
        print("no /dev/net/tun: Open vSwitch is not measured")
    elif shutil.which("ovs-vswitchd", path=OVS_PATH):
        cases.append(("ovs_userspace", OVS_TRAP + OVS))
    for name, begin in cases:
        with tempfile.TemporaryDirectory() as directory:
            output = in_namespace(f"dir={directory} seconds={seconds}\n" + SET_UP + begin + MEASURE)
        rows[f"net.veth64.{name}.mpps"] = mpps(output, seconds)
        if mpps(output, seconds) is None:
            print(f"no figure for {name}: {output[-500:]}")
    return rows


def rows(seconds=SECONDS):
    """{name: Mpps, or None where it could not be measured}"""
    if not os.path.exists(PROGRAM):
        return {}
    done = subprocess.run([PROGRAM], stdout=subprocess.PIPE, timeout=120, check=True)
    result = {line.split()[0]: float(line.split()[1]) for line in done.stdout.decode().splitlines()}
    if os.geteuid() == 0 and shutil.which("ip"):
        result.update(between_interfaces(seconds))
    return result


if __name__ == "__main__":
    for key, value in rows().items():
        print(key, value)
