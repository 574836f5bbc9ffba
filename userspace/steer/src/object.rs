//! The kernel object that this binary carries.

use crate::Error;

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sluice.o"));

/// The object's bytes.
///
/// # Errors
///
/// [`Error::Stub`] where the binary was built with `SLUICE_SKIP_EBPF=1`.
pub fn object() -> Result<&'static [u8], Error> {
    if OBJECT.is_empty() {
        return Err(Error::Stub);
    }
    Ok(OBJECT)
}
