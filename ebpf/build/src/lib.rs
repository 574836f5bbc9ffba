//! Builds the kernel object once, into one fixed target directory.
