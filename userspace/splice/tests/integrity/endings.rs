//! How a flow ends, and what is left of it then: nothing.

use std::future::Future;
use std::time::Duration;

use sluice_splice::{End, Options, Outcome, PipePool, PoolOptions, Progress, abort, relay};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Pairs, Random, Stream, alone, descriptors, read_all, run, write_all};

const SPLICED: Options = Options {
    idle_timeout: Duration::ZERO,
    total_timeout: Duration::ZERO,
    splice_after: 0,
    bulk_after: 256 << 10,
};

/// Relays between fresh pairs while `play` plays client and origin, in both families and both with
/// pipes and with copies only; checks that nothing is left.
fn flow<F, P>(options: Options, prefix: &'static [u8], end: End, play: P)
where
    F: Future<Output = ()>,
    P: Fn(TcpStream, TcpStream) -> F,
{
    let _alone = alone();
    for (ipv6, limit) in [(false, 0), (false, 64), (true, 0), (true, 64)] {
        let before = descriptors();
        let pool = PipePool::new(PoolOptions {
            limit,
            ..Default::default()
        });
        let outcome = run(async {
            let pairs = Pairs::new(ipv6).await;
            let progress = Progress::default();
            let carry = async {
                let (client, origin) = (pairs.relay_client, pairs.relay_origin);
                let outcome = relay(
                    &client,
                    &origin,
                    prefix.to_vec(),
                    &pool,
                    &options,
                    &progress,
                )
                .await;
                if outcome.end.is_abrupt() {
                    abort(&client).unwrap();
                    abort(&origin).unwrap();
                }
                outcome
            };
            let (outcome, ()) = tokio::join!(carry, play(pairs.client, pairs.origin));
            outcome
        });
        assert_eq!(outcome.end, end, "{outcome:?}");
        assert_eq!(pool.counters().lent, 0);
        drop(pool);
        assert_eq!(descriptors(), before);
    }
}

#[test]
fn b13_hello_then_fin() {
    flow(
        SPLICED,
        b"hello",
        End::Finished,
        |mut client, mut origin| async move {
            client.shutdown().await.unwrap();
            let mut seen = Vec::new();
            origin.read_to_end(&mut seen).await.unwrap();
            assert_eq!(seen, b"hello");
            // A half-close is no close: the answer still arrives.
            origin.write_all(b"answer").await.unwrap();
            drop(origin);
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            assert_eq!(answer, b"answer");
        },
    );
}

#[test]
fn b13_hello_then_reset() {
    flow(
        SPLICED,
        b"hello",
        End::ClientReset,
        |client, mut origin| async move {
            abort(&client).unwrap();
            drop(client);
            let mut seen = Vec::new();
            assert!(origin.read_to_end(&mut seen).await.is_err());
            assert!(b"hello".starts_with(&seen));
        },
    );
}

#[test]
fn b13_the_origin_resets_at_once() {
    flow(
        SPLICED,
        b"hello",
        End::OriginReset,
        |mut client, origin| async move {
            abort(&origin).unwrap();
            drop(origin);
            let mut seen = Vec::new();
            assert!(client.read_to_end(&mut seen).await.is_err());
            assert_eq!(seen, b"");
        },
    );
}

#[test]
fn an_origin_may_finish_first_and_go_on_listening() {
    let question = Stream::random(&mut Random::new(1), 300_000);
    flow(
        SPLICED,
        b"",
        End::Finished,
        |mut client, mut origin| async move {
            origin.write_all(b"220 ready").await.unwrap();
            origin.shutdown().await.unwrap();
            let mut greeting = Vec::new();
            client.read_to_end(&mut greeting).await.unwrap();
            assert_eq!(greeting, b"220 ready");
            let asking = async {
                write_all(&mut client, question).await.unwrap();
                client.shutdown().await.unwrap();
            };
            let (seen, ()) = tokio::join!(read_all(&mut origin, question), asking);
            assert_eq!(seen.unwrap(), 300_000);
        },
    );
}

#[test]
fn an_answer_before_a_reset_is_delivered() {
    flow(
        SPLICED,
        b"",
        End::OriginReset,
        |mut client, mut origin| async move {
            // The origin answers and closes with the client's bytes unread: its kernel resets.
            client.write_all(&[1; 1000]).await.unwrap();
            assert_eq!(origin.read_u8().await.unwrap(), 1);
            origin.write_all(b"413 too large").await.unwrap();
            drop(origin);
            let mut answer = [0; 13];
            client.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"413 too large");
            let mut rest = Vec::new();
            assert!(client.read_to_end(&mut rest).await.is_err());
        },
    );
}

#[test]
fn urgent_data_is_carried_in_line() {
    flow(
        SPLICED,
        b"",
        End::Finished,
        |client, mut origin| async move {
            let socket = socket2::SockRef::from(&client);
            socket.send(b"abc").unwrap();
            socket.send_out_of_band(b"d").unwrap();
            let mut seen = [0; 3];
            origin.read_exact(&mut seen).await.unwrap();
            assert_eq!(&seen, b"abc");
            socket.send(b"ef").unwrap();
            drop(client);
            let mut rest = Vec::new();
            origin.read_to_end(&mut rest).await.unwrap();
            assert_eq!(rest, b"def");
        },
    );
}

#[test]
fn a_quiet_flow_ends_after_its_idle_time_and_a_busy_one_does_not() {
    let options = Options {
        idle_timeout: Duration::from_millis(160),
        ..SPLICED
    };
    flow(
        options,
        b"",
        End::IdleTimeout,
        |mut client, mut origin| async move {
            for _ in 0..8 {
                tokio::time::sleep(Duration::from_millis(50)).await;
                client.write_all(b"x").await.unwrap();
                assert_eq!(origin.read_u8().await.unwrap(), b'x');
            }
            assert!(origin.read_u8().await.is_err());
        },
    );
}

#[test]
fn a_busy_flow_ends_after_its_total_time() {
    let options = Options {
        total_timeout: Duration::from_millis(200),
        ..SPLICED
    };
    flow(
        options,
        b"",
        End::TotalTimeout,
        |mut client, mut origin| async move {
            while client.write_all(b"x").await.is_ok() {
                if origin.read_u8().await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        },
    );
}

#[test]
fn a_dropped_relay_gives_its_pipes_back() {
    let _alone = alone();
    let before = descriptors();
    let pool = PipePool::new(PoolOptions::default());
    run(async {
        let pairs = Pairs::new(false).await;
        let mut client = pairs.client;
        let progress = Progress::default();
        let carrying = relay(
            &pairs.relay_client,
            &pairs.relay_origin,
            Vec::new(),
            &pool,
            &SPLICED,
            &progress,
        );
        let filling = async {
            // The origin reads nothing, so that the relay stops with a pipe full of bytes.
            while let Ok(written) =
                tokio::time::timeout(Duration::from_millis(300), client.write(&[7; 65536])).await
            {
                written.unwrap();
            }
        };
        tokio::select! {
            outcome = carrying => unreachable_outcome(outcome),
            () = filling => {}
        }
        assert_eq!(pool.counters().lent, 0);
        assert!(progress.to_origin() > 0 && progress.spliced() == progress.to_origin());
    });
    drop(pool);
    assert_eq!(descriptors(), before);
}

fn unreachable_outcome(outcome: Outcome) {
    panic!("the relay ended: {outcome:?}");
}
