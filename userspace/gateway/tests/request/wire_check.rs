//! What holds for any bytes on a connection of HTTP/1.

use sluice_gateway::request::wire::{Asked, Bad, Limits, Rest, Take, Wire};

/// What was made of bytes: how many may be shown, what is wrong with the next, and how many heads
/// were among them.
pub(super) type Read = (usize, Option<Bad>, u64);

const LIMITS: Limits = Limits {
    url: 200,
    fields: 20,
    fields_size: 1000,
};

/// Reads bytes that come in parts of a size, as a connection does: what is not whole is kept.
///
/// # Panics
///
/// Where bytes are left over that are neither good nor kept.
pub(super) fn read(bytes: &[u8], answers: bool, size: usize) -> Read {
    let mut wire = if answers {
        Wire::answers(LIMITS)
    } else {
        Wire::requests(LIMITS)
    };
    let mut asked = |_: Take| Some(Asked { head: false });
    let (mut kept, mut good) = (Vec::new(), 0);
    for part in bytes.chunks(size) {
        kept.extend_from_slice(part);
        loop {
            let (taken, rest) = wire.advance(&kept, &mut asked);
            good += taken;
            kept.drain(..taken);
            match rest {
                Rest::Partial => break,
                Rest::Undecided => wire.decide(false),
                Rest::Bad(bad) => return (good, Some(bad), wire.heads()),
            }
        }
        // A head, and nothing that grows without an end.
        assert!(kept.len() <= 16 << 10);
    }
    (good, None, wire.heads())
}

/// Reads bytes whole and in parts: the same comes out.
///
/// # Panics
///
/// Where it does not.
pub(super) fn check(bytes: &[u8]) {
    for answers in [false, true] {
        let whole = read(bytes, answers, bytes.len().max(1));
        for size in [1, 2, 7, 100] {
            assert_eq!(read(bytes, answers, size), whole, "by {size}");
        }
    }
}
