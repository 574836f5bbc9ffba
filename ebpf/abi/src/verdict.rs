//! What the kernel does with a packet.

/// What a kernel program decides for a packet.
///
/// Discriminants are the two top bits of an [`Entry`](crate::Entry).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[must_use = "a verdict that is not carried out lets the packet through"]
#[repr(u8)]
pub enum Verdict {
    /// Let the packet go on its way.
    Pass = 0,
    /// Discard the packet without an answer.
    Drop = 1,
    /// Discard the packet and answer at once: TCP RST, or ICMP administratively prohibited.
    Reject = 2,
    /// Hand the packet to the daemon's listener or to the socket that the listener begot.
    Steer = 3,
}

impl Verdict {
    /// The word used in configuration, logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Drop => "drop",
            Self::Reject => "reject",
            Self::Steer => "steer",
        }
    }

    /// The verdict of a discriminant; anything out of range is [`Verdict::Drop`].
    pub const fn from_bits(bits: u8) -> Self {
        match bits {
            0 => Self::Pass,
            2 => Self::Reject,
            3 => Self::Steer,
            _ => Self::Drop,
        }
    }
}
