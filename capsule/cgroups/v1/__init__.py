"""cgroup v1: one module a controller. Kernel files are as in Documentation/admin-guide/cgroup-v1."""
