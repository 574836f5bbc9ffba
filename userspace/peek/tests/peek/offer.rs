//! What is read of a relayed hello to judge its answer.

use sluice_peek::Offer;

use crate::answer::{client, offer};
use crate::hello::{Builder, records};

#[test]
fn an_offer_is_a_whole_hello_in_any_records() {
    let message = client().message();
    let bytes = records(&message, 5);
    assert_eq!(Offer::of(&bytes), Some(offer()));
    let with_data = [&bytes[..], b"\x17\x03\x03\0\x05early"].concat();
    assert_eq!(Offer::of(&with_data), Some(offer()));
    for cut in 0..bytes.len() {
        assert_eq!(Offer::of(&bytes[..cut]), None);
    }
    assert_eq!(Offer::of(b"\x80\x46\x01\x03\x01\0\x2d\0\0\0\x10"), None);
    assert_eq!(Offer::of(&Builder::new().ciphers(&[]).bytes()), None);
    assert_eq!(Offer::of(&Builder::new().versions(&[]).bytes()), None);
}
