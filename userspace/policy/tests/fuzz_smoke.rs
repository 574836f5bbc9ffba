//! The fuzz target's check over bytes that are the same in every run: no nightly compiler, no
//! coverage, and so no substitute for fuzzing, but it runs with every test.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by panicking, its helpers too"
)]

mod check;

/// Rules and flows that are tried.
const ROUNDS: usize = 2_000;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next()).unwrap() % bound
    }
}

#[test]
fn no_bytes_break_a_promise() {
    let folder =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/seeds/policy");
    let mut seeds: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| std::fs::read(entry.unwrap().path()).unwrap())
        .collect();
    seeds.sort();
    assert!(seeds.len() >= 8, "the seeds are there");
    check::check(&[]);
    for seed in &seeds {
        check::check(seed);
    }
    let mut random = Random(0x5eed);
    for round in 0..ROUNDS {
        let mut bytes = if round % 2 == 0 {
            seeds[random.below(seeds.len())].clone()
        } else {
            let length = random.below(700);
            (0..length)
                .map(|_| random.next().to_le_bytes()[0])
                .collect()
        };
        for _ in 0..random.below(6) {
            if bytes.is_empty() {
                break;
            }
            let at = random.below(bytes.len());
            match random.below(6) {
                0 => bytes.truncate(at),
                1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, bytes[at]),
                _ => bytes[at] = random.next().to_le_bytes()[0],
            }
        }
        check::check(&bytes);
    }
}
