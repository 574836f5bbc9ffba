//! Bounds-checked reads from a frame.

/// A frame that can be read at any offset, wherever its bytes lie.
pub trait Bytes {
    /// The `N` bytes at `offset`, or `None` where the frame ends before them.
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]>;

    /// Bytes of the frame.
    fn len(&self) -> u32;

    /// Whether the frame has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(not(target_arch = "bpf"))]
impl Bytes for [u8] {
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let start = usize::try_from(offset).ok()?;
        self.get(start..)?.first_chunk().copied()
    }

    fn len(&self) -> u32 {
        u32::try_from(<[u8]>::len(self)).unwrap_or(u32::MAX)
    }
}

/// Two bytes as a number in host order.
#[inline(always)]
pub(crate) const fn be16(high: u8, low: u8) -> u16 {
    u16::from_be_bytes([high, low])
}

/// Two bytes as they stand in the packet.
#[inline(always)]
pub(crate) const fn net16(first: u8, second: u8) -> u16 {
    u16::from_ne_bytes([first, second])
}

/// Four bytes as they stand in the packet.
#[inline(always)]
pub(crate) const fn net32(bytes: [u8; 4]) -> u32 {
    u32::from_ne_bytes(bytes)
}
