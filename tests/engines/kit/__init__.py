"""What scenarios are made of: enclosures, images, runtimes, engines and the report (docs/engines.md)."""
