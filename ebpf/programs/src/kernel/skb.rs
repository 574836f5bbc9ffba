//! The packet buffer: the only place that touches the context.
#![expect(
    unsafe_code,
    reason = "context fields and packet helpers are raw kernel interfaces"
)]

use core::mem::MaybeUninit;

use aya_ebpf::{
    EbpfContext as _,
    bindings::__sk_buff,
    helpers::{
        bpf_redirect, bpf_skb_adjust_room, bpf_skb_change_head, bpf_skb_change_tail,
        bpf_skb_load_bytes, bpf_skb_store_bytes,
    },
    programs::TcContext,
};
use sluice_abi::{Hook, event::replay_word};
use sluice_programs::{Bytes, Judgement, Packet};
use zerocopy::FromBytes;

use super::maps;

/// `BPF_ADJ_ROOM_MAC`: between link and IP header.
/// <https://github.com/torvalds/linux/blob/v6.6/include/uapi/linux/bpf.h#L6032>
const BPF_ADJ_ROOM_MAC: u32 = 1;

/// Reads a constant that the loader may have overwritten.
#[inline(always)]
pub(crate) fn volatile(value: &'static u8) -> u8 {
    // SAFETY: a reference is valid for reads.
    unsafe { core::ptr::read_volatile(value) }
}

/// Room for the parsed packet of a hook.
#[inline(always)]
pub(crate) fn scratch(hook: Hook) -> Option<&'static mut Packet> {
    let cell = maps::SCRATCH.get_ptr_mut(hook as u32)?;
    // SAFETY: the cell is this CPU's own, a hook does not interleave with itself on one CPU, and
    // every bit pattern that a program leaves there was written as a packet.
    Some(unsafe { &mut *cell })
}

/// A packet in the kernel.
#[derive(Clone, Copy)]
pub(crate) struct Skb {
    raw: *mut __sk_buff,
}

impl Skb {
    /// The packet of a program's context.
    #[inline(always)]
    pub(crate) fn new(ctx: &TcContext) -> Self {
        Self {
            raw: ctx.as_ptr().cast(),
        }
    }

    /// The context, for helpers.
    #[inline(always)]
    pub(crate) fn raw(&self) -> *mut __sk_buff {
        self.raw
    }

    /// Bytes of the frame.
    #[inline(always)]
    pub(crate) fn frame_length(&self) -> u32 {
        // SAFETY: the kernel passes a valid context, and the verifier checks the field.
        unsafe { (*self.raw).len }
    }

    /// Index of the device.
    #[inline(always)]
    pub(crate) fn ifindex(&self) -> u32 {
        // SAFETY: as for `frame_length`.
        unsafe { (*self.raw).ifindex }
    }

    /// EtherType of what the link header and its tags lead to.
    #[inline(always)]
    pub(crate) fn ethertype(&self) -> u16 {
        // SAFETY: as for `frame_length`.
        u16::from_be(unsafe { (*self.raw).protocol } as u16)
    }

    /// Whether the link layer addressed the frame to this host alone: `PACKET_HOST`.
    #[inline(always)]
    pub(crate) fn is_for_this_host(&self) -> bool {
        // SAFETY: as for `frame_length`.
        unsafe { (*self.raw).pkt_type == 0 }
    }

    /// Whether the packet came in by a device, and is not the gateway's own.
    #[inline(always)]
    pub(crate) fn was_received(&self) -> bool {
        // SAFETY: as for `frame_length`.
        unsafe { (*self.raw).ingress_ifindex != 0 }
    }

    /// The firewall mark.
    #[inline(always)]
    pub(crate) fn mark(&self) -> u32 {
        // SAFETY: as for `frame_length`.
        unsafe { (*self.raw).mark }
    }

    /// Sets the firewall mark.
    #[inline(always)]
    pub(crate) fn set_mark(&self, mark: u32) {
        // SAFETY: as for `frame_length`; the field is writable for tc programs.
        unsafe { (*self.raw).mark = mark };
    }

    /// Whether a local socket sent the packet.
    #[inline(always)]
    pub(crate) fn has_socket(&self) -> bool {
        // SAFETY: as for `frame_length`; the pointer is only compared.
        let socket = unsafe { (*self.raw).__bindgen_anon_2.sk };
        !socket.is_null()
    }

    /// Leaves a judgement for the replay to read.
    #[inline(always)]
    pub(crate) fn leave(&self, judgement: Judgement) {
        let word = replay_word(judgement.verdict() as u8, judgement.reason());
        // SAFETY: as for `frame_length`; `cb` belongs to tc programs.
        unsafe { (*self.raw).cb[0] = word };
    }

    /// Overwrites bytes of the frame.
    #[inline(always)]
    pub(crate) fn store<const N: usize>(&self, offset: u32, bytes: &[u8; N]) -> Option<()> {
        // SAFETY: the source is `N` readable bytes, and the helper checks the frame's bounds.
        let result = unsafe {
            bpf_skb_store_bytes(self.raw.cast(), offset, bytes.as_ptr().cast(), N as u32, 0)
        };
        (result == 0).then_some(())
    }

    /// Cuts the frame to `length` bytes.
    #[inline(always)]
    pub(crate) fn cut(&self, length: u32) -> Option<()> {
        // SAFETY: the helper checks the length.
        let result = unsafe { bpf_skb_change_tail(self.raw.cast(), length, 0) };
        (result == 0).then_some(())
    }

    /// Makes room for `bytes` before the frame, for its link header to move into.
    #[inline(always)]
    pub(crate) fn grow_front(&self, bytes: u32) -> Option<()> {
        // SAFETY: the helper checks the size.
        let result = unsafe { bpf_skb_change_head(self.raw.cast(), bytes, 0) };
        (result == 0).then_some(())
    }

    /// Makes room for `bytes` before the IP header of a frame that has no link header. The helper
    /// above would leave the room to a link header, and the device would strip it.
    #[inline(always)]
    pub(crate) fn grow_network(&self, bytes: u32) -> Option<()> {
        // SAFETY: the helper checks the size.
        let result =
            unsafe { bpf_skb_adjust_room(self.raw.cast(), bytes as i32, BPF_ADJ_ROOM_MAC, 0) };
        (result == 0).then_some(())
    }

    /// The code that sends the frame out of the device it came from.
    #[inline(always)]
    pub(crate) fn send_back(&self) -> i32 {
        // SAFETY: the helper has no memory arguments.
        unsafe { bpf_redirect(self.ifindex(), 0) as i32 }
    }
}

impl Bytes for Skb {
    #[inline(always)]
    fn load<T: FromBytes + Copy>(&self, offset: u32) -> Option<T> {
        let mut value = MaybeUninit::<T>::uninit();
        let size = size_of::<T>() as u32;
        // SAFETY: the destination is `size` writable bytes, and the helper checks the frame's
        // bounds, also where the bytes lie outside the linear part.
        let result =
            unsafe { bpf_skb_load_bytes(self.raw.cast(), offset, value.as_mut_ptr().cast(), size) };
        if result != 0 {
            return None;
        }
        // SAFETY: the helper has written every byte, and any bytes are a `T`.
        Some(unsafe { value.assume_init() })
    }

    #[inline(always)]
    fn len(&self) -> u32 {
        self.frame_length()
    }
}
