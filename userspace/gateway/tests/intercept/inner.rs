//! What is no HTTP inside TLS.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::lab::{Lab, Origin};

/// An origin that repeats what it hears.
fn echo() -> Origin {
    let origin = Origin {
        alpn: vec![],
        ..Origin::default()
    };
    origin.scripted(|mut stream, _| async move {
        let mut bytes = [0; 1024];
        while let Ok(read @ 1..) = stream.read(&mut bytes).await {
            if stream.write_all(&bytes[..read]).await.is_err() {
                return;
            }
        }
        let _ = stream.shutdown().await;
    })
}

const RULES: &str = r#"
[steer]
silent_timeout = "200ms"
[[rule]]
name = "look into it"
action = "inspect"
[[rule]]
name = "SSH may tunnel"
when = { inner = "ssh" }
action = "allow"
[[rule]]
name = "no other tunnels"
when = { inner = { absent = true } }
action = "block"
[[rule]]
name = "the web"
when = { inner = "http" }
action = "allow"
"#;

fn lab() -> Lab {
    Lab::before(&echo(), RULES)
}

#[test]
fn what_a_rule_lets_through_is_relayed_both_ways() {
    let lab = lab();
    let heard = lab.run(async {
        let mut stream = lab.trusting_gateway().connect(&lab).await.unwrap();
        stream.write_all(b"SSH-2.0-test\r\n").await.unwrap();
        let mut heard = vec![0; 14];
        stream.read_exact(&mut heard).await.unwrap();
        // Larger than what waits in between.
        let large = vec![7; 300_000];
        let (mut reading, mut writing) = tokio::io::split(stream);
        let (mut back, sent) = (Vec::new(), async {
            writing.write_all(&large).await.unwrap();
            writing.shutdown().await.unwrap();
        });
        let (read, ()) = tokio::join!(reading.read_to_end(&mut back), sent);
        assert_eq!(read.unwrap(), large.len());
        assert!(back == large);
        heard
    });
    assert_eq!(heard, b"SSH-2.0-test\r\n");
    lab.over(1);
    let (flows, requests) = lab.end();
    assert_eq!(flows[0]["verdict"], "intercept", "{}", flows[0]);
    assert_eq!(flows[0]["rule"], "SSH may tunnel");
    assert_eq!(flows[0]["stage"], "request");
    assert_eq!(flows[0]["decrypted"], true);
    assert!(requests.is_empty());
}

#[test]
fn what_is_not_known_is_blocked_and_the_origin_hears_none_of_it() {
    for bytes in [b"\x05\x01\x00 a tunnel".as_slice(), b""] {
        let lab = lab();
        lab.run(async {
            let mut stream = lab.trusting_gateway().connect(&lab).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            let mut heard = Vec::new();
            let _ended = stream.read_to_end(&mut heard).await;
            assert_eq!(heard, b"");
        });
        lab.over(1);
        let (flows, _) = lab.end();
        assert_eq!(flows[0]["verdict"], "block", "{}", flows[0]);
        assert_eq!(flows[0]["rule"], "no other tunnels");
        assert_eq!(flows[0]["decrypted"], true);
    }
}

#[test]
fn one_byte_at_a_time_tells_as_much() {
    let lab = lab();
    lab.run(async {
        let mut stream = lab.trusting_gateway().connect(&lab).await.unwrap();
        for byte in b"SSH-2.0-test\r\n" {
            stream.write_all(&[*byte]).await.unwrap();
            stream.flush().await.unwrap();
        }
        let mut heard = vec![0; 14];
        stream.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, b"SSH-2.0-test\r\n");
    });
}

#[test]
fn what_is_no_http_lasts_no_longer_than_a_flow_may() {
    let rules = format!("[splice]\ntotal_timeout = \"300ms\"\n{RULES}");
    let lab = Lab::before(&echo(), &rules);
    lab.run(async {
        let mut stream = lab.trusting_gateway().connect(&lab).await.unwrap();
        // Busy all the time, until it is ended.
        let mut heard = [0; 14];
        while stream.write_all(b"SSH-2.0-test\r\n").await.is_ok()
            && stream.read_exact(&mut heard).await.is_ok()
        {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    });
    lab.over(1);
    let (flows, _) = lab.end();
    assert_eq!(flows[0]["end"], "total-timeout", "{}", flows[0]);
}
