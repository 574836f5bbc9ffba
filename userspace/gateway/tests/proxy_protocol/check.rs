//! What holds for any bytes at the beginning of a connection from a balancer.

use sluice_gateway::proxy_protocol::{Bad, Parsed, parse};

/// Reads bytes as they may come, one by one: what is said of the whole is said as soon as it can be,
/// and never taken back.
///
/// # Panics
///
/// Where that does not hold.
pub(super) fn check(bytes: &[u8]) {
    let whole = parse(bytes);
    let settled = (0..=bytes.len())
        .map(|length| (length, parse(&bytes[..length])))
        .find(|(_, parsed)| *parsed != Parsed::Partial);
    let Some((length, first)) = settled else {
        assert_eq!(whole, Parsed::Partial);
        // A header that never ends is refused at some point.
        assert!(bytes.len() < 16 + (16 << 10), "{}", bytes.len());
        return;
    };
    assert_eq!(first, whole, "at {length}");
    match whole {
        Parsed::Whole {
            length: taken,
            client,
        } => {
            assert_eq!(taken, length, "no more is taken than was needed");
            if let Some(client) = client {
                assert_eq!(client.ip(), client.ip().to_canonical());
            }
        }
        Parsed::Bad(bad) => {
            assert!(!matches!(bad, Bad::Ended | Bad::TimedOut));
            if bad == Bad::Absent {
                // Told by the first byte that differs.
                assert!(length <= 12, "{length}");
            }
        }
        Parsed::Partial => unreachable!(),
    }
}
