//! Socket look-up and assignment; a reference never leaves this file.
#![expect(unsafe_code, reason = "socket helpers deal in raw, counted references")]

use core::{ffi::c_void, ptr};

use aya_ebpf::{
    bindings::{bpf_sock, bpf_sock_tuple},
    helpers::{bpf_map_lookup_elem, bpf_sk_assign, bpf_sk_release, bpf_skc_lookup_tcp},
};
use sluice_programs::{Packet, Policy};

use super::{env::Kernel, maps, skb::Skb};

/// `BPF_F_CURRENT_NETNS`: the namespace of the packet's device.
const CURRENT_NETNS: u64 = u64::MAX;
/// `TCP_LISTEN`.
/// <https://github.com/torvalds/linux/blob/v6.6/include/net/tcp_states.h#L12>
const LISTEN: u32 = 10;

/// Bytes of the tuple's two forms.
const TUPLE_V4: u32 = 12;
const TUPLE_V6: u32 = 36;

/// What became of the attempt to find a socket.
#[derive(Clone, Copy)]
pub(crate) enum Assigned {
    /// The packet has its socket.
    Yes,
    /// There is a socket and the kernel would not take it.
    Refused,
    /// There is no socket, and no listener of a living daemon.
    NoListener,
}

/// Gives the packet to the socket of its connection, or else to the listener.
///
/// Whatever the flags: the listener's kernel code checks SYN cookies and answers strays. A SYN
/// that meets the TIME_WAIT of an earlier connection goes there. The kernel finds no listener on
/// the origin's port and acknowledges what it knows, the client resets that and comes again at
/// once. Given to the listener, the SYN would be dropped: since Linux 6.10 a connection request
/// does not begin beside another socket of the same addresses and ports.
/// <https://github.com/torvalds/linux/blob/v6.10/net/ipv4/inet_connection_sock.c#L1124>
#[inline(always)]
pub(crate) fn assign(skb: &Skb, kernel: &Kernel, policy: Policy<'_>, packet: &Packet) -> Assigned {
    let found = if packet.is_v6 {
        connection_v6(skb, packet)
    } else {
        connection_v4(skb, packet)
    };
    match found {
        Some(assigned) => assigned,
        None if !kernel.daemon_lives(policy) => Assigned::NoListener,
        None => listener(skb, packet),
    }
}

#[inline(always)]
fn connection_v4(skb: &Skb, packet: &Packet) -> Option<Assigned> {
    // The tuple of IPv4: two addresses, two ports, all in network order.
    let ports = u32::from(packet.sport).to_le() | u32::from(packet.dport).to_le() << 16;
    let mut tuple = [packet.src.0[3], packet.dst.0[3], ports];
    connection(skb, tuple.as_mut_ptr().cast(), TUPLE_V4)
}

#[inline(always)]
fn connection_v6(skb: &Skb, packet: &Packet) -> Option<Assigned> {
    let [s0, s1, s2, s3] = packet.src.0;
    let [d0, d1, d2, d3] = packet.dst.0;
    let ports = u32::from(packet.sport).to_le() | u32::from(packet.dport).to_le() << 16;
    let mut tuple = [s0, s1, s2, s3, d0, d1, d2, d3, ports];
    connection(skb, tuple.as_mut_ptr().cast(), TUPLE_V6)
}

#[inline(always)]
fn connection(skb: &Skb, tuple: *mut bpf_sock_tuple, size: u32) -> Option<Assigned> {
    // SAFETY: the tuple is `size` readable bytes of the caller's stack.
    let socket = unsafe { bpf_skc_lookup_tcp(skb.raw().cast(), tuple, size, CURRENT_NETNS, 0) };
    if socket.is_null() {
        return None;
    }
    // SAFETY: the socket is not null, and the reference is held until `settle`.
    let state = unsafe { (*socket).state };
    settle(skb, socket, state == LISTEN)
}

#[inline(always)]
fn listener(skb: &Skb, packet: &Packet) -> Assigned {
    let index = u32::from(packet.is_v6);
    let map = ptr::from_ref(&maps::LISTENERS).cast_mut().cast::<c_void>();
    // SAFETY: the map is a socket map with a four-byte key.
    let socket = unsafe { bpf_map_lookup_elem(map, ptr::from_ref(&index).cast()) };
    if socket.is_null() {
        return Assigned::NoListener;
    }
    settle(skb, socket.cast(), false).unwrap_or(Assigned::NoListener)
}

/// Assigns a socket unless it is of no use, and gives the reference back either way.
#[inline(always)]
fn settle(skb: &Skb, socket: *mut bpf_sock, unusable: bool) -> Option<Assigned> {
    let result = if unusable {
        None
    } else {
        // SAFETY: the caller passes a socket that is not null and holds a reference to it.
        Some(unsafe { bpf_sk_assign(skb.raw().cast(), socket.cast(), 0) })
    };
    // SAFETY: as above; nothing uses the socket behind this line.
    unsafe { bpf_sk_release(socket.cast()) };
    match result {
        None => None,
        Some(0) => Some(Assigned::Yes),
        Some(_) => Some(Assigned::Refused),
    }
}
