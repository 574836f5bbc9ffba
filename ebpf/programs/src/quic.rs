//! Can a datagram be the first of a QUIC connection?

use crate::bytes::Bytes;

/// Least bytes of a datagram with a client's Initial: RFC 9000 section 14.1.
const LEAST: u32 = 1200;

/// Whether the UDP payload at `offset`, ending at `end`, can begin a QUIC connection.
///
/// Long header and fixed bit (RFC 9000 section 17.2), a version that is known (1; 2 of RFC 9369)
/// or forces negotiation (section 15), the type bits of an Initial where the version is known, a
/// destination connection ID of 8 to 20 bytes (section 7.2), and at least 1200 bytes.
// A frame of its own: the verifier gives a chain of calls 512 bytes of stack.
#[cfg_attr(target_arch = "bpf", inline(never))]
pub fn is_initial<B: Bytes + ?Sized>(frame: &B, offset: u32, end: u32) -> bool {
    if end < offset + LEAST {
        return false;
    }
    let Some([first, v0, v1, v2, v3, id_length]) = frame.load::<[u8; 6]>(offset) else {
        return false;
    };
    if first & 0xc0 != 0xc0 {
        return false;
    }
    let kind = first >> 4 & 3;
    let version = u32::from_be_bytes([v0, v1, v2, v3]);
    match version {
        0x0000_0001 => kind == 0 && (8..=20).contains(&id_length),
        0x6b33_43cf => kind == 1 && (8..=20).contains(&id_length),
        _ => version & 0x0f0f_0f0f == 0x0a0a_0a0a,
    }
}
