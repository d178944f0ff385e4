"""capsule: OCI runtime, engine and container library. The public names are loaded on first use."""

__version__ = "0.1.0"
