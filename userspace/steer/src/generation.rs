//! Writes a policy into the kernel as one generation.
//!
//! Everything exists in two slots. A generation is written whole into the idle slot and becomes
//! current by one store into `ACTIVE`; a packet sees the old policy or the new one, never a mix.
//! The slot that was current is left as it is until the next generation needs it, because programs
//! that began before the store still read it.

use std::{collections::HashMap, thread, time::Duration};

use aya::maps::{Array, LpmTrie, MapData, lpm_trie::Key};
use rustix::thread::{MembarrierCommand, membarrier};
use sluice_abi::{
    Entry, PolicyCell,
    map::{self, MapSpec},
    table::{self, Chunk, Direction, MAX_CLASSES, MAX_PREFIXES, MAX_TABLES, PrefixKey, SLOTS},
};
use sluice_policy::kernel::{ClassPrefix, KernelPolicy, MatrixCell, Table};

use crate::{
    Error,
    maps::{MapSource, Wire, array, trie},
};

/// Refuses what the maps cannot hold, before anything is written.
fn check(policy: &KernelPolicy) -> Result<(), Error> {
    let too_large = |what, found, limit: u32| {
        let limit = limit as usize;
        if found > limit {
            Err(Error::PolicyTooLarge { what, found, limit })
        } else {
            Ok(())
        }
    };
    // Two generations share the tries.
    too_large(
        "client prefixes",
        policy.clients.len(),
        MAX_PREFIXES / SLOTS,
    )?;
    too_large(
        "remote prefixes",
        policy.remotes.len(),
        MAX_PREFIXES / SLOTS,
    )?;
    too_large("tables", policy.tables.len(), MAX_TABLES)?;
    let classes = |prefixes: &[ClassPrefix]| {
        prefixes
            .iter()
            .map(|prefix| prefix.class as usize + 1)
            .max()
            .unwrap_or(0)
    };
    too_large("client classes", classes(&policy.clients), MAX_CLASSES)?;
    too_large("remote classes", classes(&policy.remotes), MAX_CLASSES)
}

type Trie = LpmTrie<MapData, Wire<PrefixKey>, u32>;

/// The maps that hold the policy.
pub(crate) struct PolicyMaps {
    active: Array<MapData, u32>,
    policy: Array<MapData, Wire<PolicyCell>>,
    clients: Trie,
    remotes: Trie,
    matrix: Array<MapData, u32>,
    tables: Array<MapData, Chunk>,
    steered: Array<MapData, u64>,
}

impl PolicyMaps {
    pub(crate) fn open(source: impl MapSource) -> Result<Self, Error> {
        let open = |spec| source.open_map(spec);
        Ok(Self {
            active: array(open(map::ACTIVE)?, map::ACTIVE)?,
            policy: array(open(map::POLICY)?, map::POLICY)?,
            clients: trie(open(map::CLIENTS)?, map::CLIENTS)?,
            remotes: trie(open(map::REMOTES)?, map::REMOTES)?,
            matrix: array(open(map::MATRIX)?, map::MATRIX)?,
            tables: array(open(map::TABLES)?, map::TABLES)?,
            steered: array(open(map::STEERED)?, map::STEERED)?,
        })
    }

    /// The slot that programs read, and what it holds.
    pub(crate) fn current(&self) -> Result<(u32, PolicyCell), Error> {
        let slot = self
            .active
            .get(&1, 0)
            .map_err(Error::map(map::ACTIVE.name))?
            % SLOTS;
        let Wire(cell) = self
            .policy
            .get(&slot, 0)
            .map_err(Error::map(map::POLICY.name))?;
        Ok((slot, cell))
    }

    /// Writes a generation and makes it current; returns its number, which is never 0 and never
    /// that of the generation before, whichever process wrote that.
    pub(crate) fn publish(&mut self, policy: &KernelPolicy) -> Result<u32, Error> {
        check(policy)?;
        let (current, cell) = self.current()?;
        let number = cell.generation.checked_add(1).unwrap_or(1);
        let idle = (current + 1) % SLOTS;
        wait_for_readers();
        write_prefixes(&mut self.clients, map::CLIENTS, idle, &policy.clients)?;
        write_prefixes(&mut self.remotes, map::REMOTES, idle, &policy.remotes)?;
        self.write_matrix(idle, &policy.matrix)?;
        for (number, table) in (0..).zip(&policy.tables) {
            self.write_table(idle, number, table)?;
        }
        let words = map::STEERED.max_entries / SLOTS;
        let steered = policy.steered.iter().copied();
        write_array(&mut self.steered, map::STEERED, idle * words, steered)?;
        let cell = PolicyCell {
            generation: number,
            ..policy.cell
        };
        self.policy
            .set(idle, Wire(cell), 0)
            .map_err(Error::map(map::POLICY.name))?;
        self.active
            .set(1, idle, 0)
            .map_err(Error::map(map::ACTIVE.name))?;
        Ok(number)
    }

    /// Pairs of classes that no cell names have table 0.
    fn write_matrix(&mut self, slot: u32, cells: &[MatrixCell]) -> Result<(), Error> {
        let first = table::matrix_index(slot, Direction::Out as u8, 0, 0);
        let mut values = vec![0; (map::MATRIX.max_entries / SLOTS) as usize];
        for cell in cells {
            let MatrixCell {
                direction,
                client,
                remote,
                table,
            } = *cell;
            let index = table::matrix_index(slot, direction as u8, client, remote) - first;
            let value = values
                .get_mut(index as usize)
                .ok_or(Error::PolicyTooLarge {
                    what: "classes",
                    found: client.max(remote) as usize + 1,
                    limit: MAX_CLASSES as usize,
                })?;
            *value = table;
        }
        write_array(&mut self.matrix, map::MATRIX, first, values)
    }

    fn write_table(&mut self, slot: u32, number: u32, table: &Table) -> Result<(), Error> {
        let parts = [
            (table::tcp_chunk(slot, number, 0), &table.tcp),
            (table::udp_chunk(slot, number, 0), &table.udp),
            (table::protocol_chunk(slot, number), &table.protocol),
        ];
        for (first, entries) in parts {
            let (chunks, _) = entries.as_chunks::<{ table::CHUNK }>();
            let chunks = chunks.iter().map(|chunk| chunk.map(|Entry(byte)| byte));
            write_array(&mut self.tables, map::TABLES, first, chunks)?;
        }
        Ok(())
    }
}

fn write_array<V: aya::Pod>(
    map: &mut Array<MapData, V>,
    spec: MapSpec,
    first: u32,
    values: impl IntoIterator<Item = V>,
) -> Result<(), Error> {
    for (index, value) in (first..).zip(values) {
        map.set(index, value, 0).map_err(Error::map(spec.name))?;
    }
    Ok(())
}

/// Makes the prefixes of a slot these and no others.
fn write_prefixes(
    trie: &mut Trie,
    spec: MapSpec,
    slot: u32,
    prefixes: &[ClassPrefix],
) -> Result<(), Error> {
    let mut wanted = HashMap::with_capacity(prefixes.len());
    for ClassPrefix { addr, bits, class } in prefixes {
        wanted.insert(
            (PrefixKey { slot, addr: *addr }, PrefixKey::SLOT_BITS + bits),
            *class,
        );
    }
    let mut stale = Vec::new();
    for key in trie.keys() {
        let key = key.map_err(Error::map(spec.name))?;
        let (Wire(data), bits) = (key.data(), key.prefix_len());
        if data.slot == slot && !wanted.contains_key(&(data, bits)) {
            stale.push(key);
        }
    }
    for key in stale {
        match trie.remove(&key) {
            Ok(()) => {}
            Err(error) if crate::pin::is_absent(&error) => {}
            Err(error) => return Err(Error::map(spec.name)(error)),
        }
    }
    for ((data, bits), class) in wanted {
        let key = Key::new(bits, Wire(data));
        trie.insert(&key, class, 0).map_err(Error::map(spec.name))?;
    }
    Ok(())
}

/// Waits until no program that began before runs any more.
///
/// `MEMBARRIER_CMD_GLOBAL` is `synchronize_rcu`
/// (<https://github.com/torvalds/linux/blob/v6.6/kernel/sched/membarrier.c#L573>), which programs
/// hold off. It is refused on machines with `nohz_full` CPUs; a program runs for microseconds, so
/// there a wait that is long against that does.
fn wait_for_readers() {
    if membarrier(MembarrierCommand::Global).is_err() {
        thread::sleep(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use sluice_abi::Addr;

    use super::*;

    fn policy() -> KernelPolicy {
        KernelPolicy {
            refused: sluice_policy::kernel::Refused::Nothing,
            cell: PolicyCell::default(),
            clients: Vec::new(),
            remotes: Vec::new(),
            matrix: Vec::new(),
            tables: Vec::new(),
            steered: Box::new([0; 1024]),
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_before_anything_is_written() {
        check(&policy()).unwrap();
        let prefix = |class| ClassPrefix {
            addr: Addr::default(),
            bits: 0,
            class,
        };
        let table = Table {
            tcp: Box::default(),
            udp: Box::default(),
            protocol: Box::default(),
        };
        let cases = [
            (
                KernelPolicy {
                    clients: vec![prefix(64)],
                    ..policy()
                },
                "client classes",
            ),
            (
                KernelPolicy {
                    remotes: vec![prefix(1); 131_073],
                    ..policy()
                },
                "remote prefixes",
            ),
            (
                KernelPolicy {
                    tables: vec![table; 65],
                    ..policy()
                },
                "tables",
            ),
        ];
        for (policy, word) in cases {
            let sentence = check(&policy).unwrap_err().to_string();
            assert!(sentence.contains(word), "{sentence}");
        }
    }

    #[test]
    fn the_parts_of_a_table_fill_its_chunks_without_a_gap() {
        let first = table::tcp_chunk(1, 3, 0);
        assert_eq!(
            table::tcp_chunk(1, 3, u16::MAX) + 1,
            table::udp_chunk(1, 3, 0)
        );
        assert_eq!(
            table::udp_chunk(1, 3, u16::MAX) + 1,
            table::protocol_chunk(1, 3)
        );
        assert_eq!(table::protocol_chunk(1, 3) + 1, first + table::CHUNKS);
    }
}
