//! Moves bytes between two sockets in the kernel.
