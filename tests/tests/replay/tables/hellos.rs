//! What clients say first on the steered port.

use std::net::SocketAddr;

use sluice_tests::{
    hello,
    packet::{Packet, Tcp, flag},
};

use crate::{
    expect::{BLOCK, Line, MEMBER, NAMELESS_MEMBER, SKYPE, SPLICE, UNANSWERED},
    story::{Cast, Story, at, data},
};

const NAME: &str = "news.example";
const ALPN: &[&str] = &["h2", "http/1.1"];

fn named() -> Vec<u8> {
    hello::genuine(NAME, ALPN)
}

fn spliced(client: SocketAddr, origin: SocketAddr, packets: u64) -> Line {
    Line::new("tcp", client, origin, packets)
        .steered(UNANSWERED)
        .hello(Some(NAME), ALPN)
}

pub(crate) fn stories(cast: &Cast) -> Vec<Story> {
    let mut stories = whole(cast);
    stories.extend(answered(cast));
    stories.extend(not_tls(cast));
    stories.extend(cut(cast));
    stories.extend(unfinished(cast));
    stories
}

/// A ServerHello of TLS 1.2 (RFC 5246 section 7.4.1.3) with a cipher suite that every hello here
/// offers.
fn server_hello() -> Vec<u8> {
    let mut bytes = vec![22, 3, 3, 0, 42, 2, 0, 0, 38, 3, 3];
    bytes.extend([8; 32]);
    bytes.extend([0, 0xc0, 0x2f, 0]);
    bytes
}

fn answered(cast: &Cast) -> Vec<Story> {
    let told = |what, answer: &[u8], judged| {
        cast.tell(what, |story, client, origin| {
            let (first, rest) = answer.split_at(4);
            story
                .says(client, origin, &named())
                .packet(data(origin, client, 5005, rest))
                .packet(data(origin, client, 5001, first))
                .expect(
                    Line::new("tcp", client, origin, 6)
                        .steered(judged)
                        .hello(Some(NAME), ALPN),
                )
        })
    };
    vec![
        told("a hello and a genuine answer", &server_hello(), SPLICE),
        told("a hello and any answer", b"as you say", SKYPE),
        told("a hello and an alert", &[21, 3, 3, 0, 2, 2, 40], SKYPE),
    ]
}

fn whole(cast: &Cast) -> Vec<Story> {
    let bare = hello::genuine(&cast.origin(443).ip().to_string(), &[]);
    vec![
        cast.tell("a hello with a name", |story, client, origin| {
            story
                .says(client, origin, &named())
                .expect(spliced(client, origin, 4))
        }),
        cast.tell("a hello without a name", |story, client, origin| {
            story.says(client, origin, &bare).expect(
                Line::new("tcp", client, origin, 4)
                    .steered(BLOCK)
                    .hello(None, &[]),
            )
        }),
        cast.tell("a member's hello without a name", |story, _, origin| {
            let member = cast.member();
            story.says(member, origin, &bare).expect(
                Line::new("tcp", member, origin, 4)
                    .steered(NAMELESS_MEMBER)
                    .hello(None, &[]),
            )
        }),
        cast.tell("a member's SSLv2-format hello", |story, _, origin| {
            let member = cast.member();
            story.says(member, origin, &hello::sslv2()).expect(
                Line::new("tcp", member, origin, 4)
                    .steered(MEMBER)
                    .state("sslv2-hello"),
            )
        }),
        cast.tell("a hello in the SYN", |story, client, origin| {
            story
                .packet(Tcp::syn(client, origin).payload(&named()).packet())
                .expect(spliced(client, origin, 1))
        }),
        cast.tell(
            "a hello whose handshake was not captured",
            |story, client, origin| {
                story
                    .packet(data(client, origin, 7001, &named()))
                    .expect(spliced(client, origin, 1))
            },
        ),
        cast.tell("a hello on a native port", |story, client, origin| {
            let native = at(origin, 8443);
            story.says(client, native, &named()).expect(
                Line::new("tcp", client, native, 4)
                    .kernel("reject", "native-tcp")
                    .hello(Some(NAME), ALPN),
            )
        }),
    ]
}

fn not_tls(cast: &Cast) -> Vec<Story> {
    let zero = hello::zero_length_records(1);
    // A hello whose body ends before its version does.
    let short = vec![0x16, 3, 1, 0, 5, 1, 0, 0, 1, 9];
    let mut stories: Vec<_> = [
        ("HTTP", b"GET / HTTP/1.1\r\n\r\n".to_vec(), "not-tls"),
        ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), "not-tls"),
        ("a lone empty record", zero.clone(), "not-tls"),
        (
            "an empty record and noise",
            [zero, vec![7]].concat(),
            "zero-length-record",
        ),
        ("a hello that contradicts itself", short, "malformed-hello"),
    ]
    .into_iter()
    .map(|(name, bytes, state)| {
        cast.tell(name, |story, client, origin| {
            story.says(client, origin, &bytes).expect(
                Line::new("tcp", client, origin, 4)
                    .steered(SKYPE)
                    .state(state),
            )
        })
    })
    .collect();
    stories.push(
        cast.tell("the origin speaks first", |story, client, origin| {
            story
                .handshake(client, origin)
                .packet(data(origin, client, 5001, b"220 mail.example ESMTP\r\n"))
                .expect(
                    Line::new("tcp", client, origin, 4)
                        .steered(SKYPE)
                        .state("server-first"),
                )
        }),
    );
    stories.push(cast.tell("nobody says anything", |story, client, origin| {
        story.handshake(client, origin).expect(
            Line::new("tcp", client, origin, 3)
                .steered(SKYPE)
                .state("none"),
        )
    }));
    stories
}

/// Segments of at most so many bytes, behind a handshake.
fn segments(client: SocketAddr, origin: SocketAddr, bytes: &[u8], size: usize) -> Vec<Packet> {
    let offsets = (1001..).step_by(size);
    offsets
        .zip(bytes.chunks(size))
        .map(|(at, part)| data(client, origin, at, part))
        .collect()
}

/// The same hello, however it arrives.
fn cut(cast: &Cast) -> Vec<Story> {
    let bytes = named();
    let arrives = |name, arrange: fn(&[u8], SocketAddr, SocketAddr) -> Vec<Packet>| {
        cast.tell(name, |story, client, origin| {
            let segments = arrange(&bytes, client, origin);
            let wanted = spliced(client, origin, 3 + segments.len() as u64);
            story
                .handshake(client, origin)
                .packets(segments)
                .expect(wanted)
        })
    };
    vec![
        arrives("segments of one byte", |bytes, client, origin| {
            segments(client, origin, bytes, 1)
        }),
        arrives("segments backwards", |bytes, client, origin| {
            segments(client, origin, bytes, 30)
                .into_iter()
                .rev()
                .collect()
        }),
        arrives("segments twice", |bytes, client, origin| {
            let once = segments(client, origin, bytes, 30);
            once.into_iter()
                .flat_map(|segment| [segment.clone(), segment])
                .collect()
        }),
        arrives(
            "a longer repetition behind a gap",
            |bytes, client, origin| {
                [(50, 60), (50, 150), (0, 50), (100, bytes.len())]
                    .map(|(from, to)| data(client, origin, 1001 + from as u32, &bytes[from..to]))
                    .to_vec()
            },
        ),
        arrives("records of seven bytes", |bytes, client, origin| {
            segments(client, origin, &hello::in_records_of(bytes, 7), 100)
        }),
        cast.tell(
            "the second segment before the SYN",
            |story, client, origin| {
                story
                    .packet(data(client, origin, 1101, &bytes[100..]))
                    .packet(Tcp::syn(client, origin).packet())
                    .packet(data(client, origin, 1001, &bytes[..100]))
                    .expect(spliced(client, origin, 3))
            },
        ),
        cast.tell("sequence numbers that wrap", |story, client, origin| {
            story
                .packet(Tcp::syn(client, origin).seq(u32::MAX - 50).packet())
                .packet(data(client, origin, 49, &bytes[99..]))
                .packet(data(client, origin, u32::MAX - 49, &bytes[..99]))
                .expect(spliced(client, origin, 3))
        }),
    ]
}

fn unfinished(cast: &Cast) -> Vec<Story> {
    let bytes = named();
    let half = &bytes[..100];
    let line = |client, origin, state| {
        Line::new("tcp", client, origin, 5)
            .steered(SKYPE)
            .state(state)
    };
    vec![
        cast.tell("half a hello and FIN", |story, client, origin| {
            story
                .says(client, origin, half)
                .packet(
                    Tcp::new(client, origin, flag::FIN | flag::ACK)
                        .seq(1101)
                        .packet(),
                )
                .expect(line(client, origin, "truncated"))
        }),
        cast.tell("half a hello and RST", |story, client, origin| {
            story
                .says(client, origin, half)
                .packet(Tcp::new(client, origin, flag::RST).seq(1101).packet())
                .expect(line(client, origin, "truncated"))
        }),
        cast.tell(
            "half a hello and then nothing in time",
            |story, client, origin| {
                story
                    .says(client, origin, half)
                    .later(6_000)
                    .packet(Tcp::ack(client, origin).seq(1101).packet())
                    .expect(line(client, origin, "timeout"))
            },
        ),
        cast.tell("only what follows a gap", |story, client, origin| {
            story
                .handshake(client, origin)
                .packet(data(client, origin, 1101, &bytes[100..]))
                .expect(Line::new("tcp", client, origin, 4).kernel("steer", "steered"))
        }),
    ]
}
