//! `sluice replay`: the real program over captures.
//!
//! `captures::` reads real traffic from the folder that `SLUICE_CAPTURES` names, and says so where
//! there is none. `generated::` makes captures of the same shapes and of many more, and holds every
//! line of the output to a table; it always runs. `command::` is about everything around the lines, and
//! `explain::` about the other commands that read captures.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on ends with a backtrace"
)]

mod replay {
    pub(crate) mod command;
    pub(crate) mod expect;
    pub(crate) mod program;
    pub(crate) mod story;

    mod captures;
    mod explain;
    mod generated;

    /// What the generated capture holds, and what must be said of it.
    pub(crate) mod tables {
        pub(crate) mod connections;
        pub(crate) mod fragments;
        pub(crate) mod headers;
        pub(crate) mod hellos;
        pub(crate) mod native;
        pub(crate) mod sides;
    }
}

use replay::{command, expect, program, story, tables};
