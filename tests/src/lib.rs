//! The network-namespace lab and the end-to-end tests.
