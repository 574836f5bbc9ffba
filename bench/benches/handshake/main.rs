//! What the gateway spends on setting up a connection.
//!
//! The flow code is called as the daemon calls it, on this thread, for connections over loopback;
//! clients and origins are another thread, whose time is not counted: what counts is the processor
//! time of this thread, from the accepted socket until the connection stands and its first request
//! is waited for.
//!
//! Without further words criterion measures each kind of set-up by itself. `ratios` measures them all
//! in turn, and beside them the handshakes alone, in memory; `flood` measures how long a client waits
//! while others ask for ten thousand names in a minute. Both write a table.
#![expect(
    clippy::expect_used,
    reason = "a contender that cannot be made leaves nothing to compare"
)]

mod bare;
mod flood;
mod ratios;
mod stage;

use std::{cell::RefCell, env, hint::black_box};

use criterion::Criterion;
use stage::{Gateway, Kind, Speech, UNLIMITED};

fn main() {
    let words: Vec<String> = env::args().skip(1).collect();
    if words.iter().any(|word| word == "ratios") {
        ratios::run();
    } else if words.iter().any(|word| word == "flood") {
        flood::run();
    } else {
        let mut criterion = Criterion::default().configure_from_args();
        setups(&mut criterion);
        criterion.final_summary();
    }
}

fn setups(criterion: &mut Criterion) {
    let gateway = RefCell::new(Gateway::start(UNLIMITED));
    let mut group = criterion.benchmark_group("setup");
    for (title, kind) in [
        ("spliced", Kind::Spliced),
        ("intercepted", Kind::Warm(Speech::Classic)),
        ("post-quantum", Kind::Warm(Speech::Hybrid)),
        ("resumed", Kind::Resumed),
        ("new-name", Kind::Cold(Speech::Hybrid)),
        ("tls12", Kind::Warm(Speech::Tls12)),
    ] {
        group.bench_function(title, |bencher| {
            bencher.iter_custom(|times| {
                let count = usize::try_from(times).unwrap_or(usize::MAX);
                black_box(gateway.borrow_mut().serve(kind, count).up)
            });
        });
    }
    group.finish();
    let mut group = criterion.benchmark_group("leaf");
    group.bench_function("minted", |bencher| {
        bencher.iter_custom(|times| ratios::mint(&gateway.borrow(), times));
    });
    group.finish();
}
