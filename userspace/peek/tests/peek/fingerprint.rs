//! JA4 against fingerprints that others published.
//!
//! Each vector is a fingerprint beside its raw form (the sorted lists that it hashes), as in the
//! specification or in the output of other implementations. The hello is made from the raw form,
//! with the lists out of order where order does not count, and with GREASE strewn in.

use crate::hello::Builder;

struct Vector {
    ja4: &'static str,
    ciphers: &'static str,
    /// Without server_name and ALPN, as in the raw form.
    extensions: &'static str,
    signature_algorithms: &'static str,
    /// The list in supported_versions, where there is one.
    versions: &'static [u16],
    sni: bool,
    alpn: Option<&'static [u8]>,
}

const CHROME: &str = "002f,0035,009c,009d,1301,1302,1303,c013,c014,c02b,c02c,c02f,c030,cca8,cca9";
const CHROME_ALGORITHMS: &str = "0403,0804,0401,0503,0805,0501,0806,0601";

const VECTORS: &[Vector] = &[
    // The example of the specification: Chrome of 2023.
    Vector {
        ja4: "t13d1516h2_8daaf6152771_e5627efa2ab1",
        ciphers: CHROME,
        extensions: "0005,000a,000b,000d,0012,0015,0017,001b,0023,002b,002d,0033,4469,ff01",
        signature_algorithms: CHROME_ALGORITHMS,
        versions: &[0x0304, 0x0303],
        sni: true,
        alpn: Some(b"h2"),
    },
    // The same, with the hash that the specification gives where there are no such algorithms.
    Vector {
        ja4: "t13d1516h2_8daaf6152771_6d807ffa2a79",
        ciphers: CHROME,
        extensions: "0005,000a,000b,000d,0012,0015,0017,001b,0023,002b,002d,0033,4469,ff01",
        signature_algorithms: "",
        versions: &[0x0304, 0x0303],
        sni: true,
        alpn: Some(b"h2"),
    },
    // Chrome 142 and later, with GREASE ECH.
    Vector {
        ja4: "t13d1516h2_8daaf6152771_d8a2da3f94cd",
        ciphers: CHROME,
        extensions: "0005,000a,000b,000d,0012,0017,001b,0023,002b,002d,0033,44cd,fe0d,ff01",
        signature_algorithms: CHROME_ALGORITHMS,
        versions: &[0x0304, 0x0303],
        sni: true,
        alpn: Some(b"h2"),
    },
    // Chrome 154: ML-DSA, and GREASE among the signature algorithms.
    Vector {
        ja4: "t13d1517h2_8daaf6152771_cb7bf5808d99",
        ciphers: CHROME,
        extensions: "0005,000a,000b,000d,0012,0017,001b,0023,002b,002d,0033,44cd,ca34,fe0d,ff01",
        signature_algorithms: "0904,0905,0906,0403,0804,0401,0503,0805,0501,0806,0601",
        versions: &[0x0304, 0x0303],
        sni: true,
        alpn: Some(b"h2"),
    },
    // curl with OpenSSL 3, as the server `pingly` shows it.
    Vector {
        ja4: "t13d4213h1_171bc101b036_5f0018e59d20",
        ciphers: "002f,0032,0033,0035,0038,0039,003c,003d,0040,0067,006a,006b,009c,009d,009e,\
                  009f,00a2,00a3,00ff,1301,1302,1303,1304,c009,c00a,c013,c014,c023,c027,c02b,\
                  c02c,c02f,c030,c09c,c09d,c09e,c09f,c0ac,c0ad,cca8,cca9,ccaa",
        extensions: "000a,000b,000d,0015,0016,0017,001b,002b,002d,0031,0033",
        signature_algorithms: "0403,0503,0603,0807,0808,0809,080a,080b,0804,0805,0806,0401,0501,\
                               0601,0303,0301,0402,0502,0602,0302,0203,0201,0202",
        versions: &[0x0304, 0x0303],
        sni: true,
        alpn: Some(b"http/1.1"),
    },
    // Chrome 117 to 130, with GREASE ECH, as browserleaks.com shows it.
    Vector {
        ja4: "t13d1516h2_8daaf6152771_02713d6af862",
        ciphers: CHROME,
        extensions: "0005,000a,000b,000d,0012,0017,001b,0023,002b,002d,0033,4469,fe0d,ff01",
        signature_algorithms: CHROME_ALGORITHMS,
        versions: &[0x0304, 0x0303],
        sni: true,
        alpn: Some(b"h2"),
    },
];

fn codes(text: &str) -> Vec<u16> {
    text.split(',')
        .filter(|code| !code.is_empty())
        .map(|code| u16::from_str_radix(code, 16).unwrap())
        .collect()
}

fn greased(mut codes: Vec<u16>) -> Vec<u16> {
    codes.insert(0, 0x0a0a);
    codes.push(0xfafa);
    codes
}

fn hello(vector: &Vector) -> Builder {
    let mut ciphers = codes(vector.ciphers);
    ciphers.reverse();
    let mut hello = Builder::new()
        .ciphers(&greased(ciphers))
        .extension(0x2a2a, &[]);
    if let Some(alpn) = vector.alpn {
        hello = hello.alpn(&[alpn, b"other"]);
    }
    let algorithms = codes(vector.signature_algorithms);
    for kind in codes(vector.extensions).into_iter().rev() {
        hello = match kind {
            13 if algorithms.is_empty() => hello.signature_algorithms(&[0x0a0a]),
            13 => hello.signature_algorithms(&greased(algorithms.clone())),
            43 => hello.versions(&greased(vector.versions.to_vec())),
            _ => hello.extension(kind, &[]),
        };
    }
    if vector.sni {
        hello = hello.sni(b"example.com");
    }
    hello.extension(0x3a3a, &[0])
}

#[test]
fn b17_published_fingerprints() {
    for vector in VECTORS {
        assert_eq!(hello(vector).hello().ja4.as_str(), vector.ja4);
    }
}

#[test]
fn b17_nothing_but_zeros_for_nothing() {
    let none = Builder::new().ciphers(&[0x0a0a, 0x1a1a]);
    let zeros = "000000000000_000000000000";
    assert_eq!(none.hello().ja4.as_str(), format!("t12i000000_{zeros}"));
    let grease_only = none.clone().extension(0x0a0a, &[]);
    assert_eq!(
        grease_only.hello().ja4.as_str(),
        format!("t12i000000_{zeros}")
    );
    // Neither the name nor ALPN is hashed.
    let named = none.sni(b"a.example").alpn(&[b"h2"]);
    assert_eq!(named.hello().ja4.as_str(), format!("t12d0002h2_{zeros}"));
}

#[test]
fn b17_protocols_that_are_not_alphanumeric() {
    for (alpn, ends) in [
        (&b"h"[..], "hh"),
        (b"\xab", "ab"),
        (b"\xab\xcd", "ad"),
        (b"\x30\xab", "3b"),
        (b"\x30\x31\xab\xcd", "3d"),
        (b"\x30\xab\xcd\x31", "01"),
    ] {
        let ja4 = Builder::new().alpn(&[alpn]).hello().ja4;
        assert_eq!(&ja4[8..10], ends);
    }
    assert_eq!(&Builder::new().hello().ja4[8..10], "00");
}

#[test]
fn b17_the_version_is_the_highest_listed() {
    for (versions, word) in [
        (&[0x0303, 0x0304][..], "13"),
        (&[0x7a7a, 0x0303], "12"),
        (&[0x0301], "10"),
        (&[0x7f1c, 0x0304], "00"),
        (&[0x7a7a], "00"),
    ] {
        let ja4 = Builder::new().versions(versions).hello().ja4;
        assert_eq!(&ja4[1..3], word, "{versions:x?}");
    }
    let old = Builder::new().legacy_version(0x0300).hello().ja4;
    assert_eq!(&old[1..3], "s3");
}

#[test]
fn b17_counts_and_hashes_beyond_the_inline_room() {
    let ciphers: Vec<u16> = (0..1000).collect();
    let mut many = Builder::new().ciphers(&ciphers);
    for kind in 0x4000..0x4100 {
        many = many.extension(kind, &[]);
    }
    let ja4 = many.hello().ja4;
    assert!(ja4.starts_with("t12i999900_"), "{ja4}");
    let mut reversed = Builder::new().ciphers(&ciphers.iter().rev().copied().collect::<Vec<_>>());
    for kind in (0x4000..0x4100).rev() {
        reversed = reversed.extension(kind, &[]);
    }
    assert_eq!(reversed.hello().ja4, ja4);
}
