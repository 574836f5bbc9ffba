//! The kernel programs of sluice: a host-testable library and thin hooks.
