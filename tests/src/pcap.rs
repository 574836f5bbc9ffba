//! Writes captures: classic pcap, and pcapng.
//!
//! Time is given by the caller, in microseconds since the epoch, so that a capture is the same
//! bytes every time it is made.

use std::{fs, io, path::Path};

/// The file format of a capture.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// Classic pcap, little-endian, microseconds.
    Classic,
    /// Classic pcap, big-endian, nanoseconds: what a foreign machine would have written.
    ClassicForeign,
    /// pcapng, little-endian, one section with one interface.
    Ng,
}

/// What a packet of a capture begins with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Link {
    /// An Ethernet header.
    Ethernet,
    /// The IP header (LINKTYPE_RAW).
    Ip,
}

impl Link {
    fn number(self) -> u16 {
        match self {
            Self::Ethernet => 1,
            Self::Ip => 101,
        }
    }
}

/// A capture in the making.
#[derive(Clone, Debug)]
pub struct Capture {
    format: Format,
    snap_length: usize,
    bytes: Vec<u8>,
}

impl Capture {
    /// An empty capture.
    #[must_use]
    pub fn new(format: Format, link: Link) -> Self {
        let mut bytes = Vec::new();
        let number = link.number();
        match format {
            Format::Classic => {
                bytes.extend(0xa1b2_c3d4u32.to_le_bytes());
                bytes.extend(2u16.to_le_bytes());
                bytes.extend(4u16.to_le_bytes());
                bytes.extend([0; 8]);
                bytes.extend(262_144u32.to_le_bytes());
                bytes.extend(u32::from(number).to_le_bytes());
            }
            Format::ClassicForeign => {
                bytes.extend(0xa1b2_3c4du32.to_be_bytes());
                bytes.extend(2u16.to_be_bytes());
                bytes.extend(4u16.to_be_bytes());
                bytes.extend([0; 8]);
                bytes.extend(262_144u32.to_be_bytes());
                bytes.extend(u32::from(number).to_be_bytes());
            }
            Format::Ng => {
                let mut section = Vec::new();
                section.extend(0x1a2b_3c4du32.to_le_bytes());
                section.extend(1u16.to_le_bytes());
                section.extend(0u16.to_le_bytes());
                section.extend(u64::MAX.to_le_bytes());
                block(&mut bytes, 0x0a0d_0d0a, &section);
                let mut interface = Vec::new();
                interface.extend(number.to_le_bytes());
                interface.extend([0; 2]);
                interface.extend(262_144u32.to_le_bytes());
                block(&mut bytes, 1, &interface);
            }
        }
        Self {
            format,
            snap_length: usize::MAX,
            bytes,
        }
    }

    /// Keeps only so many bytes of the packets that follow, as `tcpdump -s` does.
    #[must_use]
    pub fn snap_length(mut self, length: usize) -> Self {
        self.snap_length = length;
        self
    }

    /// Adds a packet.
    pub fn push(&mut self, micros: u64, packet: &[u8]) {
        let kept = &packet[..packet.len().min(self.snap_length)];
        let kept_length = u32::try_from(kept.len()).unwrap_or(u32::MAX);
        let full_length = u32::try_from(packet.len()).unwrap_or(u32::MAX);
        let seconds = u32::try_from(micros / 1_000_000).unwrap_or(u32::MAX);
        let fraction = u32::try_from(micros % 1_000_000).unwrap_or(0);
        match self.format {
            Format::Classic => {
                for word in [seconds, fraction, kept_length, full_length] {
                    self.bytes.extend(word.to_le_bytes());
                }
                self.bytes.extend(kept);
            }
            Format::ClassicForeign => {
                for word in [seconds, fraction * 1000, kept_length, full_length] {
                    self.bytes.extend(word.to_be_bytes());
                }
                self.bytes.extend(kept);
            }
            Format::Ng => {
                let [high, low] = [micros >> 32, micros & 0xffff_ffff]
                    .map(|half| u32::try_from(half).unwrap_or(u32::MAX));
                let mut body = Vec::new();
                for word in [0, high, low, kept_length, full_length] {
                    body.extend(word.to_le_bytes());
                }
                body.extend(kept);
                block(&mut self.bytes, 6, &body);
            }
        }
    }

    /// The capture so far, as a file would hold it.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Writes the capture to a file.
    ///
    /// # Errors
    ///
    /// Whatever the file system says.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        fs::write(path, &self.bytes)
    }
}

/// A pcapng block: type, length, body padded to four bytes, length.
fn block(bytes: &mut Vec<u8>, kind: u32, body: &[u8]) {
    let padded = body.len().next_multiple_of(4);
    let length = u32::try_from(12 + padded).unwrap_or(u32::MAX);
    bytes.extend(kind.to_le_bytes());
    bytes.extend(length.to_le_bytes());
    bytes.extend(body);
    bytes.resize(bytes.len() + padded - body.len(), 0);
    bytes.extend(length.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pcap_file::{pcap::PcapReader, pcapng::PcapNgReader};

    use super::*;

    const PACKETS: [(u64, &[u8]); 2] = [
        (1_700_000_000_000_001, b"first!"),
        (1_700_000_001_500_000, b"second one"),
    ];

    fn capture(format: Format) -> Capture {
        let mut capture = Capture::new(format, Link::Ethernet).snap_length(8);
        for (micros, packet) in PACKETS {
            capture.push(micros, packet);
        }
        capture
    }

    #[test]
    fn classic_captures_read_back() {
        for format in [Format::Classic, Format::ClassicForeign] {
            let capture = capture(format);
            let mut reader = PcapReader::new(capture.bytes()).unwrap();
            for (micros, bytes) in PACKETS {
                let packet = reader.next_packet().unwrap().unwrap();
                assert_eq!(packet.timestamp, Duration::from_micros(micros));
                assert_eq!(packet.orig_len as usize, bytes.len());
                assert_eq!(&packet.data[..], &bytes[..bytes.len().min(8)]);
            }
            assert!(reader.next_packet().is_none());
        }
    }

    #[test]
    fn pcapng_reads_back() {
        let capture = capture(Format::Ng);
        let mut reader = PcapNgReader::new(capture.bytes()).unwrap();
        let mut seen = Vec::new();
        while let Some(block) = reader.next_block() {
            if let Some(packet) = block.unwrap().into_enhanced_packet() {
                seen.push((packet.original_len as usize, packet.data.to_vec()));
            }
        }
        let expected: Vec<_> = PACKETS
            .iter()
            .map(|(_, b)| (b.len(), b[..b.len().min(8)].to_vec()))
            .collect();
        assert_eq!(seen, expected);
    }
}
