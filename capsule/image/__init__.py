"""Images: names, the store and its layers, and what brings images in and out of it. docs/images.md."""
