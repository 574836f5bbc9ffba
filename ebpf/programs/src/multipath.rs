//! Multipath TCP joins.

use crate::{bytes::Bytes, parse::Packet};

/// Bytes of TCP options: the header has at most 60 bytes.
const OPTIONS: u32 = 40;
/// Option kind of Multipath TCP: RFC 8684 section 3.
const MULTIPATH: u8 = 30;
/// Its subtype MP_JOIN: RFC 8684 section 3.2.
const JOIN: u8 = 1;

/// Whether a SYN wants to add a path to a connection that exists elsewhere.
///
/// Options that cannot be walked end the search, as they do in a TCP stack.
// A frame of its own: the verifier gives a chain of calls 512 bytes of stack.
#[cfg_attr(target_arch = "bpf", inline(never))]
pub fn joins<B: Bytes + ?Sized>(frame: &B, packet: &Packet) -> bool {
    let Some(words) = frame.load::<u8>(packet.transport + 12) else {
        return false;
    };
    let length = u32::from(words >> 4) * 4;
    let mut at = 20;
    let mut rounds = 0;
    while rounds < OPTIONS {
        rounds += 1;
        if at >= length {
            return false;
        }
        let Some(kind) = frame.load::<u8>(packet.transport + at) else {
            return false;
        };
        match kind {
            0 => return false,
            1 => at += 1,
            _ => {
                let Some([size, first]) = frame.load::<[u8; 2]>(packet.transport + at + 1) else {
                    return false;
                };
                if size < 2 {
                    return false;
                }
                if kind == MULTIPATH && size > 2 && first >> 4 == JOIN {
                    return true;
                }
                at += u32::from(size);
            }
        }
    }
    false
}
