//! Benchmarks, guards, load tools and comparisons.
