//! Loads, attaches, pins and fills the kernel programs; owns policy routing.
