//! The ClientHello that follows a HelloRetryRequest, and what may come before it.

use sluice_peek::{End, NotTls, Peek, SecondHelloReader};

use crate::hello::{Builder, hello, records};

const CIPHERS: &[u8] = &[20, 3, 3, 0, 1, 1];
const WARNING: &[u8] = &[21, 3, 3, 0, 2, 1, 90];

fn second(bytes: &[u8]) -> Peek {
    SecondHelloReader::new(4096).advance(bytes)
}

fn early_data(length: usize) -> Vec<u8> {
    let mut record = vec![23, 3, 3];
    record.extend(u16::try_from(length).unwrap().to_be_bytes());
    record.resize(5 + length, 0xee);
    record
}

#[test]
fn b14_a_second_hello_is_read_as_the_first() {
    let message = Builder::new().sni(b"www.example.com").message();
    for size in [1, 7, message.len()] {
        let bytes = records(&message, size);
        assert_eq!(second(&bytes), Peek::Hello(hello(&bytes)));
        let early = early_data(600);
        for before in [
            CIPHERS,
            WARNING,
            &early,
            &[CIPHERS, &early, &early].concat(),
        ] {
            let mut expected = hello(&bytes);
            expected.consumed += before.len();
            let all = [before, &bytes].concat();
            assert_eq!(second(&all), Peek::Hello(expected));
            for end in 0..all.len() {
                assert_eq!(second(&all[..end]), Peek::NeedMore, "{end}");
            }
        }
    }
}

#[test]
fn b14_what_is_no_second_hello() {
    let hello = Builder::new().sni(b"www.example.com").bytes();
    let (head, tail) = hello.split_at(9);
    let interleaved = [&[22, 3, 1, 0, 4], &head[5..], CIPHERS, tail].concat();
    for (bytes, why) in [
        (&b"GET / HTTP/1.1\r\n"[..], NotTls::NotTls),
        (&[24, 3, 3, 0, 1, 1], NotTls::NotTls),
        (&[23, 2, 0, 0, 1, 1], NotTls::NotTls),
        (&[20, 3, 3, 0, 0], NotTls::ZeroLengthRecord),
        (&[23, 3, 3, 0x41, 1], NotTls::Oversize),
        (&[22, 3, 3, 0, 4, 2, 0, 0, 0], NotTls::NotTls),
        (&interleaved, NotTls::Malformed),
        (&early_data(4092), NotTls::Oversize),
        (&[22, 3, 3, 0, 4, 1, 0, 0x10, 0], NotTls::Oversize),
    ] {
        assert_eq!(second(bytes), Peek::NotTls(why), "{:02x?}", &bytes[..5]);
        let finish = |end| SecondHelloReader::new(4096).finish(bytes, end);
        assert_eq!([finish(End::Eof), finish(End::Deadline)], [why; 2]);
    }
    // What was passed over counts.
    let behind = [&early_data(4000)[..], &hello].concat();
    assert_eq!(second(&behind), Peek::NotTls(NotTls::Oversize));
}

#[test]
fn b14_a_second_hello_that_does_not_come() {
    for (bytes, end, why) in [
        (&b""[..], End::Eof, NotTls::Silent),
        (CIPHERS, End::Eof, NotTls::Truncated),
        (CIPHERS, End::Deadline, NotTls::Timeout),
        (&[22], End::Deadline, NotTls::Timeout),
    ] {
        assert_eq!(SecondHelloReader::new(4096).finish(bytes, end), why);
    }
}
