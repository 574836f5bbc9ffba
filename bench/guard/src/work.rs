//! The work of one flow's beginning, with all that it needs made before.

use std::hint::black_box;

use anyhow::{Result, bail};
use sluice_peek::{HELLO_LIMIT, HelloReader, Peek};
use sluice_policy::{Decision, Facts, Policy, RuleSet, Scratch};

/// The server that a client asks for. No rule of [`large`](crate::rules::large) names it.
pub const NAME: &str = "www.site999.example";

/// The same on the heap, where it is aligned alike in every build: how a name is searched, and so what
/// is counted, depends on that.
#[must_use]
pub fn name() -> &'static str {
    NAME.to_owned().leak()
}

/// The head of a request, on a port where a ClientHello is due.
pub const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: www.site999.example\r\n\r\n";

/// Where the first segment of a [`post_quantum`](crate::hello::post_quantum) hello ends, in bytes.
pub const SEGMENT: usize = 1448;

/// What a flow is that begins with these bytes, which arrive in pieces that end at `cuts`, and at the
/// end.
#[must_use]
pub fn read(bytes: &[u8], cuts: &[usize]) -> Peek {
    let mut reader = HelloReader::new(HELLO_LIMIT);
    for cut in cuts {
        black_box(reader.advance(bytes.get(..*cut).unwrap_or(bytes)));
    }
    reader.advance(bytes)
}

/// First bytes, ready to be read.
#[derive(Debug)]
pub struct Arriving {
    bytes: Vec<u8>,
    cuts: Vec<usize>,
}

impl Arriving {
    /// Bytes that arrive in pieces which end at `cuts`, and at the end. They have been read once.
    ///
    /// # Errors
    ///
    /// They do not tell what the flow is.
    pub fn new(bytes: impl Into<Vec<u8>>, cuts: impl Into<Vec<usize>>) -> Result<Self> {
        let arriving = Self {
            bytes: bytes.into(),
            cuts: cuts.into(),
        };
        if matches!(arriving.read(), Peek::NeedMore) {
            bail!("the bytes decide nothing");
        }
        Ok(arriving)
    }

    /// Reads them.
    #[must_use]
    pub fn read(&self) -> Peek {
        read(black_box(&self.bytes), &self.cuts)
    }
}

/// A flow, ready to be decided.
#[derive(Debug)]
pub struct Asking {
    policy: Policy,
    facts: Facts<'static>,
    scratch: Scratch,
}

impl Asking {
    /// A flow under a policy with a fixed key, so that the same slots are looked at in every run. It
    /// has been decided once, which makes room for what is remembered of it.
    ///
    /// # Errors
    ///
    /// The rules do not compile.
    pub fn new(set: &RuleSet, facts: Facts<'static>) -> Result<Box<Self>> {
        let mut asking = Box::new(Self {
            policy: Policy::compile_keyed(set, 1)?,
            facts,
            scratch: Scratch::default(),
        });
        let _warm = black_box(asking.decide());
        Ok(asking)
    }

    /// Decides it.
    pub fn decide(&mut self) -> Decision {
        self.policy
            .decide(black_box(&self.facts), &mut self.scratch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{hello, rules};

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

    #[test]
    fn what_decides_nothing_is_no_case() {
        assert!(Arriving::new(&hello::small(NAME)[..20], []).is_err());
        assert!(matches!(
            Arriving::new(REQUEST, []).unwrap().read(),
            Peek::NotTls(_)
        ));
    }

    #[test]
    fn the_recipe_is_asked_what_its_cases_say() {
        let recipe = rules::recipe().unwrap();
        for (facts, decided) in [
            (rules::opened(), false),
            (rules::hello(NAME), false),
            (rules::not_tls(), true),
            (rules::answered(NAME), true),
        ] {
            let stage = facts.stage;
            let decision = Asking::new(&recipe, facts).unwrap().decide();
            assert_eq!(
                matches!(decision, Decision::Decided(_)),
                decided,
                "{stage:?}"
            );
        }
    }
}
