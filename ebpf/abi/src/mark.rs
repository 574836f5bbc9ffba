//! The owner of every fwmark bit.

/// The firewall marks that sluice sets, all inside one configured mask.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Marks {
    /// Bits that belong to sluice.
    pub mask: u32,
    /// On a steered packet: the routing rule sends it to the local stack.
    pub steer: u32,
    /// On a packet of sluice's own sockets and on the kernel programs' answers.
    pub own: u32,
}

impl Marks {
    /// The marks of a configured `value/mask`; `None` where the mask leaves no second value, or
    /// the value is zero or outside the mask.
    #[must_use]
    pub const fn new(value: u32, mask: u32) -> Option<Self> {
        let lowest = mask & mask.wrapping_neg();
        let own = value ^ lowest;
        if value == 0 || value & !mask != 0 || own == 0 {
            return None;
        }
        // The second value flips the lowest owned bit, which must not be the only one.
        if mask == lowest {
            return None;
        }
        Some(Self {
            mask,
            steer: value,
            own,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_marks_differ_inside_the_mask() {
        let marks = Marks::new(0x5100_0000, 0xff00_0000).unwrap();
        assert_eq!(marks.own, 0x5000_0000);
        assert_eq!((marks.own | marks.steer) & !marks.mask, 0);
        assert_eq!(Marks::new(0x1, 0x1), None);
        assert_eq!(Marks::new(0x1_0000, 0xff), None);
        assert_eq!(Marks::new(0, 0xff), None);
    }
}
