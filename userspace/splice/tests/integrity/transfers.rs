//! Ten thousand transfers through the relay, and not a byte wrong, lost or leaked.

use std::sync::Arc;
use std::time::Duration;

use sluice_splice::{End, Options, Outcome, PipePool, PoolOptions, Progress, abort, relay};
use socket2::SockRef;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::support::{Pairs, Random, Stream, alone, descriptors};

const TRANSFERS: u64 = 10_000;
const AT_ONCE: usize = 48;

/// What one side does with its connection.
#[derive(Clone, Copy, Debug)]
struct Side {
    stream: Stream,
    /// Bytes per write.
    chunk: usize,
    /// One of so many writes and reads is followed by a pause.
    pause_every: usize,
    /// Bytes sent after which the connection is reset.
    reset_after: Option<usize>,
    /// Bytes per read.
    read: usize,
    /// Waits for the peer's end before it sends anything.
    answers_last: bool,
}

#[derive(Clone, Copy, Debug)]
struct Plan {
    ipv6: bool,
    client: Side,
    origin: Side,
    pool: usize,
    options: Options,
    /// Kernel buffer of the relay's sockets.
    buffer: Option<usize>,
    /// Bytes that the relay reads before it begins.
    prefix: usize,
}

/// What one side saw.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Seen {
    /// The peer's stream to its end: so many bytes.
    End(usize),
    /// Broken off after so many bytes.
    Reset(usize),
}

fn side(random: &mut Random, may_reset: bool) -> Side {
    let length = match random.below(100) {
        0..5 => 0,
        5..80 => random.below(6 << 10),
        80..95 => random.below(64 << 10),
        _ => random.below(1 << 20),
    };
    let stream = Stream::random(random, length);
    let chunk = if length < 256 && random.one_in(4) {
        1
    } else {
        1 + random.below(48 << 10)
    };
    Side {
        stream,
        chunk,
        pause_every: random.pick(&[2, 8, 64, 1024]),
        reset_after: (may_reset && random.one_in(12)).then(|| random.below(length + 1)),
        read: random.pick(&[700, 16 << 10, 64 << 10]),
        answers_last: random.one_in(6),
    }
}

fn plan(number: u64, pools: usize) -> Plan {
    let mut random = Random::new(number);
    let client = side(&mut random, true);
    let mut origin = side(&mut random, client.reset_after.is_none());
    // Somebody has to begin.
    origin.answers_last &= !client.answers_last;
    let splice_after = random.pick(&[0, 0, 0, 1 << 10, 64 << 10]);
    let small = client.stream.length + origin.stream.length < 24 << 10;
    Plan {
        ipv6: random.one_in(2),
        client,
        origin,
        pool: random.below(pools),
        options: Options {
            splice_after,
            bulk_after: splice_after + random.pick(&[0, 8 << 10, 256 << 10]),
            ..Options::default()
        },
        // Small buffers make large transfers wait for timers.
        buffer: (small && random.one_in(5)).then(|| random.pick(&[4 << 10, 16 << 10])),
        prefix: random.pick(&[0, 1, 517, 1800]),
    }
}

async fn pause(random: &mut Random, every: usize) {
    if random.one_in(every) {
        if random.one_in(8) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        } else {
            tokio::task::yield_now().await;
        }
    }
}

async fn send(to: &mut (impl AsyncWriteExt + Unpin), side: Side, seed: u64) -> Result<(), ()> {
    let mut random = Random::new(seed);
    let mut sent = 0;
    let end = side.reset_after.unwrap_or(side.stream.length);
    while sent < end {
        let bytes = side.stream.slice(sent, side.chunk.min(end - sent));
        sent += to.write(bytes).await.map_err(drop)?;
        pause(&mut random, side.pause_every).await;
    }
    if side.reset_after.is_some() {
        Err(())
    } else {
        to.shutdown().await.map_err(drop)
    }
}

async fn receive(
    from: &mut (impl AsyncReadExt + Unpin),
    side: Side,
    expected: Stream,
    seed: u64,
) -> Seen {
    let mut random = Random::new(seed);
    let mut buffer = vec![0; side.read];
    let mut offset = 0;
    loop {
        match from.read(&mut buffer).await {
            Ok(0) => return Seen::End(offset),
            Ok(length) => {
                assert!(
                    expected.holds(offset, &buffer[..length]),
                    "bytes differ behind {offset}"
                );
                offset += length;
            }
            Err(_) => return Seen::Reset(offset),
        }
        pause(&mut random, side.pause_every).await;
    }
}

/// Plays one side; `None` where it reset the connection itself.
async fn play(mut stream: TcpStream, side: Side, expected: Stream, seed: u64) -> Option<Seen> {
    if side.answers_last {
        let seen = receive(&mut stream, side, expected, seed).await;
        if matches!(seen, Seen::End(_)) && send(&mut stream, side, seed + 1).await.is_err() {
            abort(&stream).unwrap();
        }
        return Some(seen).filter(|_| side.reset_after.is_none());
    }
    let (mut from, mut to) = stream.split();
    let sending = async {
        match send(&mut to, side, seed).await {
            // The reset does not wait for the peer's bytes.
            Err(()) if side.reset_after.is_some() => Err(()),
            sent => Ok(sent),
        }
    };
    let receiving = async { Ok(receive(&mut from, side, expected, seed + 1).await) };
    match tokio::try_join!(sending, receiving) {
        // The write was told of the reset, and then the read sees what looks like an end.
        Ok((Err(()), Seen::End(bytes))) => Some(Seen::Reset(bytes)),
        Ok((_, seen)) => Some(seen),
        Err(()) => {
            abort(&stream).unwrap();
            None
        }
    }
}

async fn carry(plan: Plan, pairs: (TcpStream, TcpStream), pool: &PipePool) -> Outcome {
    let (mut client, origin) = pairs;
    if let Some(bytes) = plan.buffer {
        for stream in [&client, &origin] {
            let socket = SockRef::from(stream);
            socket.set_send_buffer_size(bytes).unwrap();
            socket.set_recv_buffer_size(bytes).unwrap();
        }
    }
    let mut prefix = vec![0; plan.prefix];
    // An origin that speaks first gets no prefix: its client may be waiting for it.
    let read = if plan.prefix == 0 || plan.client.answers_last {
        0
    } else {
        match client.read(&mut prefix).await {
            Ok(read) => read,
            Err(_) => {
                let end = End::ClientReset;
                abort(&origin).unwrap();
                return Outcome {
                    to_origin: 0,
                    to_client: 0,
                    spliced: 0,
                    copied: 0,
                    end,
                };
            }
        }
    };
    prefix.truncate(read);
    let progress = Progress::default();
    let outcome = relay(&client, &origin, prefix, pool, &plan.options, &progress).await;
    if outcome.end.is_abrupt() {
        abort(&client).unwrap();
        abort(&origin).unwrap();
    }
    let moved = (
        progress.to_origin(),
        progress.to_client(),
        progress.spliced(),
    );
    assert_eq!(
        moved,
        (outcome.to_origin, outcome.to_client, outcome.spliced)
    );
    outcome
}

fn judge(plan: Plan, outcome: Outcome, client: Option<Seen>, origin: Option<Seen>) {
    assert_eq!(
        outcome.spliced + outcome.copied,
        outcome.to_client + outcome.to_origin
    );
    if plan.client.reset_after.is_none() && plan.origin.reset_after.is_none() {
        assert_eq!(outcome.end, End::Finished);
        assert_eq!(origin, Some(Seen::End(plan.client.stream.length)));
        assert_eq!(client, Some(Seen::End(plan.origin.stream.length)));
        assert_eq!(outcome.to_origin, plan.client.stream.length as u64);
        assert_eq!(outcome.to_client, plan.origin.stream.length as u64);
    } else {
        assert!(
            matches!(outcome.end, End::ClientReset | End::OriginReset),
            "{:?}",
            outcome.end
        );
        // Nobody takes a stream for whole that is not.
        if let Some(Seen::End(bytes)) = origin {
            assert_eq!(bytes, plan.client.stream.length);
        }
        if let Some(Seen::End(bytes)) = client {
            assert_eq!(bytes, plan.origin.stream.length);
        }
    }
}

async fn transfer(number: u64, pools: &[PipePool]) {
    let plan = plan(number, pools.len());
    let pairs = Pairs::new(plan.ipv6).await;
    let seed = number << 8;
    let play = async {
        tokio::join!(
            carry(
                plan,
                (pairs.relay_client, pairs.relay_origin),
                &pools[plan.pool]
            ),
            play(pairs.client, plan.client, plan.origin.stream, seed),
            play(pairs.origin, plan.origin, plan.client.stream, seed + 100),
        )
    };
    let (outcome, client, origin) = tokio::time::timeout(Duration::from_secs(50), play)
        .await
        .unwrap_or_else(|_| panic!("transfer {number} hangs: {plan:?}"));
    let judged = std::panic::catch_unwind(|| judge(plan, outcome, client, origin));
    assert!(
        judged.is_ok(),
        "transfer {number}: {plan:?} {outcome:?} {client:?} {origin:?}"
    );
}

#[test]
fn h10_ten_thousand_transfers_are_whole_and_leave_nothing() {
    let _alone = alone();
    let before = descriptors();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let of = |ordinary, bulk| {
        PipePool::new(PoolOptions {
            ordinary,
            bulk,
            ..Default::default()
        })
    };
    let pools: Arc<[PipePool]> = Arc::new([
        of(4 << 10, 4 << 10),
        of(4 << 10, 64 << 10),
        of(8 << 10, 256 << 10),
        of(64 << 10, 1 << 20),
        of(1 << 20, 1 << 20),
        PipePool::new(PoolOptions {
            limit: 3,
            ..Default::default()
        }),
        PipePool::new(PoolOptions {
            limit: 0,
            ..Default::default()
        }),
    ]);
    runtime.block_on(async {
        let room = Arc::new(Semaphore::new(AT_ONCE));
        let mut running = tokio::task::JoinSet::new();
        for number in 0..TRANSFERS {
            let place = room.clone().acquire_owned().await.unwrap();
            let pools = pools.clone();
            running.spawn(async move {
                transfer(number, &pools).await;
                drop(place);
            });
            while let Some(done) = running.try_join_next() {
                done.unwrap();
            }
        }
        while let Some(done) = running.join_next().await {
            done.unwrap();
        }
    });
    let counters: Vec<_> = pools.iter().map(PipePool::counters).collect();
    assert!(counters.iter().all(|pool| pool.lent == 0), "{counters:?}");
    assert!(
        counters[..5].iter().all(|pool| pool.spliced > pool.copied),
        "{counters:?}"
    );
    assert_eq!((counters[6].created, counters[6].spliced), (0, 0));
    drop((runtime, pools));
    assert_eq!(descriptors(), before);
}
