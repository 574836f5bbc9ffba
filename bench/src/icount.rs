//! What the instruction guard counts: the work of one flow's beginning, piece by piece.

use std::hint::black_box;

use anyhow::{Result, bail};
use sluice_peek::{HELLO_LIMIT, HelloReader, Peek};
use sluice_policy::{Facts, Policy, RuleSet, Scratch};

use crate::{hello, rules};

/// The names of what is counted.
pub const CASES: [&str; 10] = [
    "peek-small",
    "peek-fragmented",
    "peek-post-quantum",
    "peek-not-tls",
    "rules-recipe-hello",
    "rules-recipe-not-tls",
    "rules-recipe-undecided",
    "rules-recipe-answered",
    "rules-1000",
    "rules-10000",
];

const NAME: &str = "www.site999.example";

/// Does the work of a case `times` times. What it needs is made before, whatever `times` is, so
/// that the difference between two runs is the work alone.
///
/// # Errors
///
/// No such case, or it does not come to what it should.
pub fn work(case: &str, times: u32) -> Result<()> {
    match case {
        "peek-small" => peek(&hello::small(NAME), &[], times),
        "peek-fragmented" => peek(&hello::fragmented(NAME, 50), &[], times),
        // As two segments bring it.
        "peek-post-quantum" => peek(&hello::post_quantum(NAME), &[1448], times),
        "peek-not-tls" => peek(
            b"GET / HTTP/1.1\r\nHost: www.site999.example\r\n\r\n",
            &[],
            times,
        ),
        "rules-recipe-hello" => decide(&rules::recipe()?, &rules::hello(NAME), times),
        "rules-recipe-not-tls" => decide(&rules::recipe()?, &rules::not_tls(), times),
        "rules-recipe-undecided" => decide(&rules::recipe()?, &rules::opened(), times),
        "rules-recipe-answered" => decide(&rules::recipe()?, &rules::answered(NAME), times),
        "rules-1000" => decide(
            &rules::large(1000, 1000, 1000)?,
            &rules::answered(NAME),
            times,
        ),
        "rules-10000" => decide(
            &rules::large(10_000, 1000, 1000)?,
            &rules::answered(NAME),
            times,
        ),
        _ => bail!("no case {case:?}"),
    }
}

fn decide(set: &RuleSet, facts: &Facts<'_>, times: u32) -> Result<()> {
    // The same key in every run, so that the same slots are looked at.
    let policy = Policy::compile_keyed(set, 1)?;
    let mut scratch = Scratch::default();
    // The first decision makes room in `scratch`.
    let _ = black_box(policy.decide(facts, &mut scratch));
    repeat(times, || policy.decide(black_box(facts), &mut scratch));
    Ok(())
}

fn repeat<T>(times: u32, mut work: impl FnMut() -> T) {
    for _ in 0..times {
        black_box(work());
    }
}

/// Reads first bytes that arrive in pieces which end at `cuts`, and at the end.
fn peek(bytes: &[u8], cuts: &[usize], times: u32) -> Result<()> {
    let last = read(bytes, cuts);
    if matches!(last, Peek::NeedMore) {
        bail!("the bytes decide nothing");
    }
    repeat(times, || read(black_box(bytes), cuts));
    Ok(())
}

/// What a flow is that begins with these bytes.
#[must_use]
pub fn read(bytes: &[u8], cuts: &[usize]) -> Peek {
    let mut reader = HelloReader::new(HELLO_LIMIT);
    for cut in cuts {
        black_box(reader.advance(bytes.get(..*cut).unwrap_or(bytes)));
    }
    reader.advance(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_can_be_worked() {
        for case in CASES {
            work(case, 2).unwrap();
        }
        assert!(work("none", 1).is_err());
    }

    #[test]
    fn the_hellos_are_genuine() {
        for bytes in [
            hello::small(NAME),
            hello::fragmented(NAME, 50),
            hello::post_quantum(NAME),
        ] {
            let Peek::Hello(hello) = read(&bytes, &[]) else {
                panic!("no hello");
            };
            assert_eq!(
                hello.sni.map(|name| name.as_str().to_owned()).unwrap(),
                NAME
            );
            assert_eq!(hello.consumed, bytes.len());
        }
    }
}
