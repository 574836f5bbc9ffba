//! Bounds-checked reads from a frame.

use zerocopy::FromBytes;

/// A frame that can be read at any offset, wherever its bytes lie.
pub trait Bytes {
    /// The bytes at `offset` as a `T`, or `None` where the frame ends before them.
    fn load<T: FromBytes + Copy>(&self, offset: u32) -> Option<T>;

    /// Bytes of the frame.
    fn len(&self) -> u32;

    /// Whether the frame has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(not(target_arch = "bpf"))]
impl Bytes for [u8] {
    fn load<T: FromBytes + Copy>(&self, offset: u32) -> Option<T> {
        let start = usize::try_from(offset).ok()?;
        T::read_from_prefix(self.get(start..)?)
            .ok()
            .map(|(value, _)| value)
    }

    fn len(&self) -> u32 {
        u32::try_from(<[u8]>::len(self)).unwrap_or(u32::MAX)
    }
}
