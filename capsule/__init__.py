"""capsule: OCI runtime, engine and container library. The public names are loaded on first use."""
