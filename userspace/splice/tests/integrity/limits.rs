//! What the relay does when it may not have what it wants.

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sluice_splice::{End, Options, PipePool, PoolOptions, Progress, relay};
use tokio::io::AsyncWriteExt;

use crate::support::{Pairs, Random, Stream, alone, descriptors, read_all, run, write_all};

const MEGABYTE: usize = 1 << 20;

#[test]
fn g5_a_stopped_reader_stops_its_writer() {
    let _alone = alone();
    for limit in [0, 64] {
        let pool = PipePool::new(PoolOptions {
            limit,
            ..Default::default()
        });
        run(async {
            let pairs = Pairs::new(false).await;
            for stream in [
                &pairs.client,
                &pairs.relay_client,
                &pairs.relay_origin,
                &pairs.origin,
            ] {
                let socket = socket2::SockRef::from(stream);
                socket.set_send_buffer_size(64 << 10).unwrap();
                socket.set_recv_buffer_size(64 << 10).unwrap();
            }
            let (mut client, mut origin) = (pairs.client, pairs.origin);
            let stream = Stream::random(&mut Random::new(3), 16 * MEGABYTE);
            let options = Options::default();
            let progress = Progress::default();
            let carry = relay(
                &pairs.relay_client,
                &pairs.relay_origin,
                Vec::new(),
                &pool,
                &options,
                &progress,
            );
            let play = async {
                let mut sent = 0;
                while let Ok(written) = tokio::time::timeout(
                    Duration::from_millis(300),
                    client.write(stream.slice(sent, 64 << 10)),
                )
                .await
                {
                    sent += written.unwrap();
                }
                // Four socket buffers of twice 64 KiB, and one pipe or copy buffer.
                let bound = 4 * 128 * 1024 + MEGABYTE;
                assert!(
                    sent <= bound,
                    "{sent} bytes are buffered, more than {bound}"
                );
                let rest = Stream {
                    start: stream.start + sent,
                    length: stream.length - sent,
                };
                let finish = async {
                    write_all(&mut client, rest).await.unwrap();
                    client.shutdown().await.unwrap();
                };
                let hear = async {
                    let heard = read_all(&mut origin, stream).await.unwrap();
                    origin.shutdown().await.unwrap();
                    heard
                };
                assert_eq!(tokio::join!(hear, finish).0, stream.length);
            };
            let (outcome, ()) = tokio::join!(carry, play);
            assert_eq!(outcome.end, End::Finished);
            assert_eq!(outcome.to_origin, stream.length as u64);
        });
    }
}

/// One transfer of four megabytes each way.
async fn exchange(pool: &PipePool, after: impl FnOnce()) -> sluice_splice::Outcome {
    let mut pairs = Pairs::new(false).await;
    let there = Stream::random(&mut Random::new(4), 4 * MEGABYTE);
    let back = Stream::random(&mut Random::new(5), 4 * MEGABYTE);
    after();
    let options = Options {
        splice_after: 0,
        ..Options::default()
    };
    let progress = Progress::default();
    let carry = relay(
        &pairs.relay_client,
        &pairs.relay_origin,
        Vec::new(),
        pool,
        &options,
        &progress,
    );
    let (mut client_reads, mut client_writes) = pairs.client.split();
    let (mut origin_reads, mut origin_writes) = pairs.origin.split();
    let play = async {
        let ask = async {
            write_all(&mut client_writes, there).await.unwrap();
            client_writes.shutdown().await.unwrap();
        };
        let answer = async {
            write_all(&mut origin_writes, back).await.unwrap();
            origin_writes.shutdown().await.unwrap();
        };
        let heard = tokio::join!(
            read_all(&mut origin_reads, there),
            read_all(&mut client_reads, back),
            ask,
            answer
        );
        assert_eq!(
            (heard.0.unwrap(), heard.1.unwrap()),
            (there.length, back.length)
        );
    };
    tokio::join!(carry, play).0
}

#[test]
fn g7_without_descriptors_for_pipes_bytes_are_copied() {
    let _alone = alone();
    let pool = PipePool::new(PoolOptions::default());
    let usual = getrlimit(Resource::Nofile);
    let outcome = run(exchange(&pool, || {
        let none = Rlimit {
            current: Some(0),
            maximum: usual.maximum,
        };
        setrlimit(Resource::Nofile, none).unwrap();
    }));
    setrlimit(Resource::Nofile, usual).unwrap();
    assert_eq!(outcome.end, End::Finished);
    assert_eq!((outcome.spliced, outcome.copied), (0, 8 * MEGABYTE as u64));
    let counters = pool.counters();
    assert!(
        counters.refused > 0 && counters.created == 0,
        "{counters:?}"
    );
}

#[test]
fn g7_a_pool_that_lends_nothing_makes_flows_copy() {
    let _alone = alone();
    let pool = PipePool::new(PoolOptions {
        limit: 0,
        ..Default::default()
    });
    let outcome = run(exchange(&pool, || ()));
    assert_eq!(outcome.end, End::Finished);
    assert_eq!((outcome.spliced, outcome.copied), (0, 8 * MEGABYTE as u64));
}

#[test]
fn g7_a_bulk_pipe_that_is_refused_is_replaced_by_an_ordinary_one() {
    let _alone = alone();
    // No kernel makes a pipe of two gigabytes.
    let pool = PipePool::new(PoolOptions {
        bulk: (1 << 31) + 1,
        ..Default::default()
    });
    let outcome = run(exchange(&pool, || ()));
    assert_eq!(outcome.end, End::Finished);
    assert_eq!(outcome.copied, 0);
}

#[test]
fn an_idle_flow_holds_no_pipe() {
    let _alone = alone();
    let pool = PipePool::new(PoolOptions {
        keep: 0,
        ..Default::default()
    });
    run(async {
        let pairs = Pairs::new(false).await;
        let (mut client, mut origin) = (pairs.client, pairs.origin);
        let options = Options {
            splice_after: 0,
            ..Options::default()
        };
        let progress = Progress::default();
        let carry = relay(
            &pairs.relay_client,
            &pairs.relay_origin,
            Vec::new(),
            &pool,
            &options,
            &progress,
        );
        let stream = Stream::random(&mut Random::new(6), 2 * MEGABYTE);
        let play = async {
            let before = descriptors();
            let write = write_all(&mut client, stream);
            let mut heard = vec![0; stream.length];
            let read = tokio::io::AsyncReadExt::read_exact(&mut origin, &mut heard);
            let (written, read) = tokio::join!(write, read);
            assert_eq!((written.is_ok(), read.unwrap()), (true, stream.length));
            tokio::time::sleep(Duration::from_millis(50)).await;
            let counters = pool.counters();
            assert_eq!((counters.lent, counters.kept), (0, 0));
            assert!(counters.created > 0);
            assert_eq!(descriptors(), before);
        };
        tokio::select! {
            outcome = carry => panic!("the relay ended: {outcome:?}"),
            () = play => {}
        }
    });
}
