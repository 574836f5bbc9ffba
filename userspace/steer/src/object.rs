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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binary_without_the_object_says_how_to_get_one() {
        let sentence = Error::Stub.to_string();
        assert!(sentence.contains("SLUICE_SKIP_EBPF") && sentence.contains("cargo xtask setup"));
        match object() {
            Ok(bytes) => assert!(bytes.starts_with(b"\x7fELF")),
            Err(error) => assert!(OBJECT.is_empty() && matches!(error, Error::Stub)),
        }
    }
}
