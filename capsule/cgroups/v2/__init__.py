"""cgroup v2: files as in Documentation/admin-guide/cgroup-v2."""
