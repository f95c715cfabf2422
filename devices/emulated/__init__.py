"""ARM machines under qemu-user."""
