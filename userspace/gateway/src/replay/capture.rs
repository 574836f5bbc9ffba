//! Reads classic pcap and pcapng files.

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek},
    path::{Path, PathBuf},
    time::Duration,
};

use pcap_file::{
    DataLink, PcapError,
    pcap::PcapReader,
    pcapng::{Block, PcapNgReader, blocks::interface_description::InterfaceDescriptionOption},
};

use super::frame;

/// One packet of a capture.
#[derive(Clone, Debug)]
pub(super) struct Captured {
    /// Its number, from 1, as capture viewers count.
    pub number: u64,
    /// Since the epoch.
    pub time: Duration,
    /// What its bytes begin with.
    pub link: DataLink,
    /// The bytes that were kept.
    pub bytes: Vec<u8>,
    /// How many bytes it had on the wire.
    pub length: usize,
}

/// Why a capture cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// The file cannot be opened or read.
    #[error("{}: cannot be read", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is neither pcap nor pcapng.
    #[error(
        "{}: neither a pcap nor a pcapng file; `tcpdump -w FILE` and `dumpcap` write them",
        .0.display()
    )]
    Format(PathBuf),
    /// The file is damaged.
    #[error("{}: packet {number}: {reason}; the packets before it can be read", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The number of the packet that cannot be read, from 1.
        number: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The link type is not one that carries IP in a known way.
    #[error(
        "{}: packet {number}: link type {link:?} is not supported; Ethernet, raw IP, BSD \
         loopback and Linux cooked captures are", path.display()
    )]
    Link {
        /// The file.
        path: PathBuf,
        /// The packet's number, from 1.
        number: u64,
        /// Its link type.
        link: DataLink,
    },
}

/// The packets of a capture, in the file's order.
pub(super) struct Packets {
    path: PathBuf,
    reader: Reader,
    number: u64,
    over: bool,
}

enum Reader {
    Classic(Box<PcapReader<BufReader<File>>>),
    Next(Box<PcapNgReader<BufReader<File>>>),
}

/// The type of the block that a pcapng file begins with, the same in either byte order.
const SECTION_HEADER: u32 = 0x0a0d_0d0a;

/// Whether a file that begins with these bytes is a capture: pcap of either byte order, of
/// microseconds or nanoseconds, or pcapng.
#[must_use]
pub const fn is_capture(magic: [u8; 4]) -> bool {
    matches!(
        u32::from_be_bytes(magic),
        SECTION_HEADER | 0xa1b2_c3d4 | 0xd4c3_b2a1 | 0xa1b2_3c4d | 0x4d3c_b2a1
    )
}

/// Opens a capture.
///
/// # Errors
///
/// [`CaptureError::File`] and [`CaptureError::Format`].
pub(super) fn open(path: &Path) -> Result<Packets, CaptureError> {
    let failed = |source| CaptureError::File {
        path: path.to_owned(),
        source,
    };
    let mut file = BufReader::new(File::open(path).map_err(failed)?);
    let mut magic = [0; 4];
    let is_short = match file.read_exact(&mut magic) {
        Ok(()) => false,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => true,
        Err(error) => return Err(failed(error)),
    };
    file.rewind().map_err(failed)?;
    let unknown = |_| CaptureError::Format(path.to_owned());
    if is_short || !is_capture(magic) {
        return Err(CaptureError::Format(path.to_owned()));
    }
    let reader = match u32::from_be_bytes(magic) {
        SECTION_HEADER => Reader::Next(Box::new(PcapNgReader::new(file).map_err(unknown)?)),
        _ => Reader::Classic(Box::new(PcapReader::new(file).map_err(unknown)?)),
    };
    Ok(Packets {
        path: path.to_owned(),
        reader,
        number: 0,
        over: false,
    })
}

impl Packets {
    fn damaged(&self, error: &PcapError) -> CaptureError {
        let reason = match error {
            PcapError::IncompleteBuffer => "the file ends inside it".to_owned(),
            PcapError::IoError(source) if source.kind() == io::ErrorKind::UnexpectedEof => {
                "the file ends inside it".to_owned()
            }
            PcapError::IoError(source) => source.to_string(),
            other => other.to_string(),
        };
        CaptureError::Damaged {
            path: self.path.clone(),
            number: self.number + 1,
            reason,
        }
    }

    fn classic(reader: &mut PcapReader<BufReader<File>>) -> Option<Result<Captured, PcapError>> {
        let link = reader.header().datalink;
        let packet = match reader.next_packet()? {
            Ok(packet) => packet,
            Err(error) => return Some(Err(error)),
        };
        Some(Ok(Captured {
            number: 0,
            time: packet.timestamp,
            link,
            length: packet.orig_len as usize,
            bytes: packet.data.into_owned(),
        }))
    }

    /// The next packet of a pcapng file; other blocks are passed over.
    fn next_generation(
        reader: &mut PcapNgReader<BufReader<File>>,
    ) -> Option<Result<Captured, PcapError>> {
        loop {
            let (interface, ticks, bytes, length) = match reader.next_block()? {
                Err(error) => return Some(Err(error)),
                Ok(Block::EnhancedPacket(packet)) => (
                    packet.interface_id as usize,
                    Some(packet.timestamp.as_nanos()),
                    packet.data.into_owned(),
                    packet.original_len as usize,
                ),
                Ok(Block::SimplePacket(packet)) => {
                    let length = packet.original_len as usize;
                    (0, None, packet.data.into_owned(), length)
                }
                Ok(_) => continue,
            };
            let Some(description) = reader.interfaces().get(interface) else {
                return Some(Err(PcapError::InvalidInterfaceId(interface as u32)));
            };
            let resolution = description.options.iter().find_map(|option| match option {
                InterfaceDescriptionOption::IfTsResol(resolution) => Some(*resolution),
                _ => None,
            });
            let time = ticks.map_or(Duration::ZERO, |ticks| scaled(ticks, resolution));
            let link = description.linktype;
            return Some(Ok(Captured {
                number: 0,
                time,
                link,
                bytes,
                length,
            }));
        }
    }
}

/// Ticks to time: a power of ten or, with the top bit, of two; microseconds where nothing is said
/// (pcapng, if_tsresol).
fn scaled(ticks: u128, resolution: Option<u8>) -> Duration {
    let resolution = resolution.unwrap_or(6);
    let exponent = u32::from(resolution & 0x7f);
    let per_second = if resolution & 0x80 == 0 {
        10u128.checked_pow(exponent)
    } else {
        1u128.checked_shl(exponent)
    };
    let Some(per_second) = per_second else {
        return Duration::ZERO;
    };
    let nanos = ticks.saturating_mul(1_000_000_000) / per_second;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

impl Iterator for Packets {
    type Item = Result<Captured, CaptureError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let next = match &mut self.reader {
            Reader::Classic(reader) => Self::classic(reader),
            Reader::Next(reader) => Self::next_generation(reader),
        };
        match next {
            None => None,
            Some(Ok(mut packet)) => {
                self.number += 1;
                packet.number = self.number;
                if !frame::is_supported(packet.link) {
                    self.over = true;
                    return Some(Err(CaptureError::Link {
                        path: self.path.clone(),
                        number: packet.number,
                        link: packet.link,
                    }));
                }
                Some(Ok(packet))
            }
            Some(Err(error)) => {
                self.over = true;
                Some(Err(self.damaged(&error)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A classic capture of two packets of 60 bytes.
    fn classic() -> Vec<u8> {
        let mut bytes = 0xa1b2_c3d4u32.to_le_bytes().to_vec();
        bytes.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0]);
        for second in [1u32, 2] {
            for word in [second, 0, 60, 1000] {
                bytes.extend(word.to_le_bytes());
            }
            bytes.extend([0x5a; 60]);
        }
        bytes
    }

    /// A pcapng capture of one packet of 60 bytes, of a device that counts milliseconds.
    fn next_generation() -> Vec<u8> {
        fn block(bytes: &mut Vec<u8>, kind: u32, body: &[u8]) {
            let length = (12 + body.len() as u32).to_le_bytes();
            bytes.extend([&kind.to_le_bytes(), &length, body, &length].concat());
        }
        let mut bytes = Vec::new();
        block(
            &mut bytes,
            0x0a0d_0d0a,
            &[&[0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0][..], &[0xff; 8]].concat(),
        );
        let options = [9, 0, 1, 0, 3, 0, 0, 0, 0, 0, 0, 0];
        block(
            &mut bytes,
            1,
            &[&[1, 0, 0, 0, 0, 0, 4, 0][..], &options].concat(),
        );
        let words: Vec<u8> = [0u32, 0, 1500, 60, 1000]
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect();
        block(&mut bytes, 6, &[&words, &[0x5a; 60][..]].concat());
        bytes
    }

    fn read(name: &str, bytes: &[u8]) -> Result<Vec<Captured>, CaptureError> {
        let path = std::env::temp_dir().join(format!("sluice-{}-{name}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        let packets = open(&path).and_then(Iterator::collect);
        std::fs::remove_file(&path).unwrap();
        packets
    }

    #[test]
    fn packets_have_number_time_and_both_lengths() {
        let packets = read("classic", &classic()).unwrap();
        let seen: Vec<_> = packets
            .iter()
            .map(|packet| (packet.number, packet.time.as_millis(), packet.bytes.len()))
            .collect();
        assert_eq!(seen, [(1, 1000, 60), (2, 2000, 60)]);
        let packets = read("ng", &next_generation()).unwrap();
        let seen: Vec<_> = packets
            .iter()
            .map(|packet| (packet.number, packet.time.as_millis(), packet.length))
            .collect();
        assert_eq!(seen, [(1, 1500, 1000)]);
    }

    #[test]
    fn every_cut_is_an_end_or_names_a_packet() {
        for (name, whole, packets) in [
            ("cut-classic", classic(), 2),
            ("cut-ng", next_generation(), 1),
        ] {
            for cut in 0..whole.len() {
                match read(name, &whole[..cut]) {
                    Ok(read) => assert!(read.len() < packets, "{name} cut at {cut}"),
                    Err(CaptureError::Damaged { number, reason, .. }) => {
                        assert!(number <= packets as u64, "{name} cut at {cut}: {number}");
                        assert_eq!(reason, "the file ends inside it", "{name} cut at {cut}");
                    }
                    Err(CaptureError::Format(_)) => assert!(cut < 32, "{name} cut at {cut}"),
                    Err(other) => panic!("{name} cut at {cut}: {other}"),
                }
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn damage_is_an_error_and_never_a_panic(
            place in 0usize..184,
            value in proptest::prelude::any::<[u8; 4]>(),
            ng in proptest::prelude::any::<bool>(),
        ) {
            let mut bytes = if ng { next_generation() } else { classic() };
            for (byte, new) in bytes.iter_mut().skip(place).zip(value) {
                *byte = new;
            }
            // Whatever it says: it ends.
            let read = read(&format!("damage-{ng}"), &bytes);
            proptest::prop_assert!(read.is_err() || read.is_ok_and(|packets| packets.len() <= 2));
        }
    }

    #[test]
    fn ticks_become_time() {
        assert_eq!(scaled(1_500_000, None), Duration::from_millis(1500));
        assert_eq!(scaled(1_500_000_000, Some(9)), Duration::from_millis(1500));
        assert_eq!(scaled(3, Some(0x81)), Duration::from_millis(1500));
        assert_eq!(scaled(1, Some(0x7f)), Duration::ZERO);
    }
}
