//! Time to read what a client says first.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use sluice_guard::{hello, work::read};

fn first_bytes(criterion: &mut Criterion) {
    let name = "www.site999.example";
    let mut group = criterion.benchmark_group("peek");
    for (title, bytes, cuts) in [
        ("small", hello::small(name), vec![]),
        ("fragmented", hello::fragmented(name, 50), vec![]),
        ("post-quantum", hello::post_quantum(name), vec![1448]),
        ("not-tls", b"GET / HTTP/1.1\r\n\r\n".to_vec(), vec![]),
    ] {
        group.bench_function(title, |bencher| {
            bencher.iter(|| read(black_box(&bytes), &cuts));
        });
    }
    group.finish();
}

criterion_group!(benches, first_bytes);
criterion_main!(benches);
