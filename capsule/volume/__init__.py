"""Named directories that outlive containers: docs/volumes.md."""
