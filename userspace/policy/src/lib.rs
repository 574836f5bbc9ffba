//! Facts and rules to a decision; sans-IO.
