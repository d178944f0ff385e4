"""The systemd cgroup driver: a scope or slice unit for each container, over D-Bus (docs/systemd.md).

driver.py is the manager; units.py names; properties.py and devices.py turn limits into unit properties; gvariant.py
reads annotations; calls.py speaks to the service manager; bus.py and wire.py are D-Bus. Only driver.py and units.py
load for verbs that change nothing of a unit.
"""
