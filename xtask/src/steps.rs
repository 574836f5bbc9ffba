//! Tells what is being done, and in the end how long each thing took.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// The steps of a verb.
pub(crate) struct Steps {
    begin: Instant,
    done: Vec<(String, Duration)>,
}

impl Steps {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self {
            begin: Instant::now(),
            done: Vec::new(),
        }
    }

    /// Takes one step and remembers its time.
    ///
    /// # Errors
    ///
    /// What kept it from being done, under its name.
    pub(crate) fn step<R>(&mut self, name: &str, body: impl FnOnce() -> Result<R>) -> Result<R> {
        println!("==> {name}");
        let begin = Instant::now();
        let result = body().with_context(|| name.to_owned())?;
        self.done.push((name.to_owned(), begin.elapsed()));
        Ok(result)
    }

    /// Prints the times.
    pub(crate) fn print(&self) {
        println!();
        for (name, time) in &self.done {
            println!("{:>8.1} s  {name}", time.as_secs_f64());
        }
        println!("{:>8.1} s  in all", self.begin.elapsed().as_secs_f64());
    }
}
