"""The test kit: what system tests use to start the runtime and to look at the host and the payload."""
