//! Frames of any content onto a device, and what arrives there.
#![expect(
    unsafe_code,
    reason = "packet sockets, their control messages and tun devices have no safe interface"
)]

use std::{
    fs::OpenOptions,
    io,
    mem::{MaybeUninit, size_of},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    ptr,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::netdevice::name_to_index,
};
use sluice_tests::netns::Netns;
use socket2::{Domain, SockAddr, SockAddrStorage, Socket, Type};

/// Options of packet sockets that the libc crate does not have.
/// <https://github.com/torvalds/linux/blob/v6.6/include/uapi/linux/if_packet.h#L47>
const PACKET_AUXDATA: libc::c_int = 8;
const PACKET_VNET_HDR: libc::c_int = 15;

/// The largest frame, a joined segment with its headers among them.
const LARGEST: usize = 70_000;

/// A device's frames, from inside its namespace.
pub(crate) struct Wire {
    fd: OwnedFd,
    /// Bytes before each frame that are not of it: the header of virtio, for offloads.
    prefix: usize,
}

/// A frame that arrived, without the tag that its device took off.
#[derive(Clone, Debug)]
pub(crate) struct Arrived {
    pub(crate) frame: Vec<u8>,
    pub(crate) tag: Option<u16>,
}

/// A value for a socket or device call that the wrappers do not know.
fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn enable(socket: &Socket, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the value is `length` readable bytes.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            option,
            ptr::from_ref(&on).cast(),
            length,
        )
    };
    check(result)
}

impl Wire {
    /// All frames of an Ethernet device.
    pub(crate) fn new(netns: &Netns, device: &str) -> Self {
        netns.run(|| Self::open(device, false)).unwrap()
    }

    /// The same; what is sent has its headers, but for the link header, outside the linear part of
    /// the kernel's buffer, where it is longer than a page.
    pub(crate) fn scattered(netns: &Netns, device: &str) -> Self {
        netns.run(|| Self::open(device, true)).unwrap()
    }

    fn open(device: &str, scattered: bool) -> io::Result<Self> {
        let every = u16::to_be(libc::ETH_P_ALL as u16);
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(i32::from(every).into()))?;
        let index = name_to_index(&socket, device)?;
        let mut storage = SockAddrStorage::zeroed();
        // SAFETY: the storage is larger than a link address, and zeros are one.
        let link = unsafe { storage.view_as::<libc::sockaddr_ll>() };
        link.sll_family = libc::AF_PACKET as u16;
        link.sll_protocol = every;
        link.sll_ifindex = index as i32;
        let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: the storage holds a link address, of this length.
        let address = unsafe { SockAddr::new(storage, length) };
        enable(&socket, PACKET_AUXDATA)?;
        enable(&socket, libc::PACKET_IGNORE_OUTGOING)?;
        let prefix = if scattered {
            enable(&socket, PACKET_VNET_HDR)?;
            10
        } else {
            0
        };
        socket.bind(&address)?;
        Ok(Self {
            fd: socket.into(),
            prefix,
        })
    }

    /// The other end of a new tun device: what is sent comes out of the device as received.
    pub(crate) fn tun(netns: &Netns, device: &str) -> Self {
        netns.run(|| Self::open_tun(device)).unwrap()
    }

    fn open_tun(device: &str) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/net/tun")?;
        // SAFETY: zeros are a valid request.
        let mut request: libc::ifreq = unsafe { MaybeUninit::zeroed().assume_init() };
        for (to, from) in request.ifr_name.iter_mut().zip(device.bytes()) {
            *to = from.cast_signed();
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
        // SAFETY: the request is what this call reads and writes.
        check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })?;
        Ok(Self {
            fd: file.into(),
            prefix: 0,
        })
    }

    /// Sends a frame.
    #[track_caller]
    pub(crate) fn send(&self, frame: &[u8]) {
        let mut bytes = vec![0; self.prefix];
        if let Some(header_length) = bytes.get_mut(2..4) {
            // What the kernel is to keep in the linear part: the link header and no more.
            header_length.copy_from_slice(&14u16.to_ne_bytes());
        }
        bytes.extend(frame);
        assert_eq!(rustix::io::write(&self.fd, &bytes).unwrap(), bytes.len());
    }

    /// The next frame that has something in it, if it comes in time.
    pub(crate) fn find<T>(
        &self,
        patience: Duration,
        mut wanted: impl FnMut(&Arrived) -> Option<T>,
    ) -> Option<T> {
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.checked_duration_since(Instant::now())?;
            let timeout = Timespec::try_from(left).unwrap();
            let mut fds = [PollFd::from_borrowed_fd(self.fd.as_fd(), PollFlags::IN)];
            if poll(&mut fds, Some(&timeout)).unwrap() == 0 {
                return None;
            }
            if let Some(found) = wanted(&self.receive().unwrap()) {
                return Some(found);
            }
        }
    }

    fn receive(&self) -> io::Result<Arrived> {
        let mut frame = vec![0; LARGEST];
        if self.is_tun() {
            let length = rustix::io::read(&self.fd, &mut *frame)?;
            frame.truncate(length);
            return Ok(Arrived { frame, tag: None });
        }
        let mut control = [0u64; 16];
        let mut part = libc::iovec {
            iov_base: frame.as_mut_ptr().cast(),
            iov_len: frame.len(),
        };
        // SAFETY: zeros are a valid message header.
        let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control);
        // SAFETY: the message points to the buffers above, with their lengths.
        let length = unsafe { libc::recvmsg(self.fd.as_raw_fd(), &raw mut message, 0) };
        let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
        let frame = frame.get(self.prefix..length).unwrap_or_default().to_vec();
        Ok(Arrived {
            frame,
            tag: tag(&message),
        })
    }

    fn is_tun(&self) -> bool {
        rustix::net::sockopt::socket_type(&self.fd).is_err()
    }
}

/// The VLAN that the device took off a frame.
fn tag(message: &libc::msghdr) -> Option<u16> {
    // SAFETY: the kernel filled the message's control buffer, which outlives this call.
    let header = unsafe { libc::CMSG_FIRSTHDR(message) };
    // SAFETY: the header is null or lies in that buffer.
    let header = unsafe { header.as_ref() }?;
    if header.cmsg_level != libc::SOL_PACKET || header.cmsg_type != PACKET_AUXDATA {
        return None;
    }
    // SAFETY: the control message is of the type that carries this.
    let data = unsafe { libc::CMSG_DATA(header) }.cast::<libc::tpacket_auxdata>();
    // SAFETY: as above; the buffer's alignment is not that of the struct.
    let data = unsafe { ptr::read_unaligned(data) };
    (data.tp_status & libc::TP_STATUS_VLAN_VALID != 0).then_some(data.tp_vlan_tci & 0x0fff)
}
