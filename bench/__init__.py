"""The paired benchmark against the installed runc and crun; not a test, and it never fails a build."""
