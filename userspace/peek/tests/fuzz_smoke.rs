//! The fuzz targets' checks over mutations that are the same in every run: no nightly compiler, no
//! coverage, and so no substitute for fuzzing, but it runs with every test.

#[cfg(test)]
#[path = "check/answer.rs"]
mod answer;
#[cfg(test)]
mod check;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{answer, check};

    const MUTATIONS: usize = 200_000;

    fn seeds(target: &str) -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/seeds");
        let mut paths: Vec<_> = std::fs::read_dir(folder.join(target))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        paths.sort();
        paths
            .iter()
            .map(|path| std::fs::read(path).unwrap())
            .collect()
    }

    struct Random(u64);

    impl Random {
        fn below(&mut self, bound: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            usize::try_from(self.0 >> 11).unwrap() % bound
        }
    }

    fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
        const LENGTHS: [u8; 8] = [0, 1, 2, 3, 4, 0x40, 0x80, 0xff];
        let at = random.below(bytes.len());
        let byte = match random.below(2) {
            0 => LENGTHS[random.below(LENGTHS.len())],
            _ => u8::try_from(random.below(256)).unwrap(),
        };
        match random.below(8) {
            0 => bytes.truncate(at + 1),
            1 => bytes.insert(at, byte),
            2 if bytes.len() > 1 => drop(bytes.remove(at)),
            3 => {
                let copied = bytes[at..].iter().take(20).copied().collect::<Vec<_>>();
                bytes.splice(at..at, copied);
            }
            4 => bytes[at] = bytes[at].wrapping_add(1),
            5 => bytes[at] = bytes[at].wrapping_sub(1),
            _ => bytes[at] = byte,
        }
    }

    fn no_bytes_break_a_promise(target: &str, check: fn(&[u8])) {
        let seeds = seeds(target);
        assert!(seeds.len() >= 10, "the seeds are there");
        for seed in &seeds {
            check(seed);
        }
        check(&[]);
        let mut random = Random(0x5eed);
        for round in 0..MUTATIONS {
            let mut bytes = seeds[round % seeds.len()].clone();
            for _ in 0..=random.below(3) {
                mutate(&mut bytes, &mut random);
            }
            check(&bytes);
        }
    }

    #[test]
    fn b16_hellos() {
        no_bytes_break_a_promise("client_hello", check::check);
    }

    #[test]
    fn b16_answers() {
        no_bytes_break_a_promise("server_hello", answer::check);
    }
}
