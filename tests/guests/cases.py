"""What each test guest needs, for both runners: tests/guests/reference.py on QEMU and
tests/emu/bochs_guests.py on Bulkhead.  A guest without a row gets DEFAULT."""

DEFAULT = {
    "cpus": 1,
    "mem": 16,           # MiB
    "seconds": 20,       # of the reference machine
    "ends": "verdict",   # "stop": the hypervisor must stop it; "never": it runs on;
                         # "asked": a verdict, after something its test does
    "says": "",          # what the VM's log must hold, for "stop"
    "options": {},       # more settings of the VM
    "reference": True,   # False: only means something on Bulkhead
}

CASES = {
    "ipi": {"cpus": 2},
    "ipi_storm": {"cpus": 4, "seconds": 60},
    "ipi_flood": {"cpus": 2, "seconds": 300, "ends": "asked", "reference": False},
    "destinations": {"cpus": 4, "seconds": 60},
    "shootdown": {"cpus": 4, "seconds": 60},
    "pause_spin": {"cpus": 2},
    "tsc": {"cpus": 2},
    "tsc_adjust": {"cpus": 2},
    "start_state": {"cpus": 2},
    "dirty": {"cpus": 2, "mem": 32, "ends": "never", "reference": False},
    "secret": {"mem": 32},
    "seeker": {"mem": 32},
    "speculation": {"reference": False},
    "counter": {"ends": "never", "reference": False},
    "busy": {"ends": "never", "reference": False},
    "work": {"ends": "never", "reference": False},
    "watch": {"ends": "never", "reference": False},
    "fuzz": {"ends": "never", "reference": False},
    "spin_cli": {"ends": "never", "reference": False},
    "flood_uart": {"ends": "never", "reference": False},
    "triple_fault": {"ends": "stop", "says": "triple fault", "reference": False},
    "jump_nowhere": {"ends": "stop", "says": "d0000000", "reference": False},
    "power_button": {"ends": "asked", "reference": False},
    "reboot": {"ends": "never", "reference": False},
    "every_privileged": {"reference": False},
    "hostile_blk": {"cpus": 2, "ends": "asked", "reference": False},
    "hostile_net": {"cpus": 2, "ends": "asked", "reference": False},
    "bench": {"cpus": 2, "reference": False},
    "bench_io": {"ends": "never", "reference": False},
    "doorbell": {"options": {"rng": "yes"}, "reference": False},
}


def case(name):
    return DEFAULT | CASES.get(name, {})
