//! One rtnetlink connection: devices, addresses, and whether either has changed.

use std::net::IpAddr;

use futures_util::{
    StreamExt, TryStreamExt,
    stream::{BoxStream, Stream},
};
use rtnetlink::{
    Handle, MulticastGroup, new_connection_with_strict_check, new_multicast_connection,
    packet_route::{
        address::{AddressAttribute, AddressMessage},
        link::{LinkAttribute, LinkMessage},
    },
};
use rustix::io::Errno;
use tokio::task::JoinHandle;

use crate::{
    Device, Error,
    gateway::{self, AddressKind},
};

/// A connection, driven by a task of the current runtime until it is dropped.
#[derive(Debug)]
pub(crate) struct Netlink {
    pub(crate) handle: Handle,
    driver: JoinHandle<()>,
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Netlink {
    /// Connects to the network namespace of the calling thread.
    pub(crate) fn connect() -> Result<Self, Error> {
        // Strict checking lets the kernel filter dumps by table.
        let (connection, handle, _) =
            new_connection_with_strict_check().map_err(Error::NetlinkSocket)?;
        Ok(Self {
            handle,
            driver: tokio::spawn(connection),
        })
    }

    /// Every device.
    pub(crate) async fn devices(&self) -> Result<Vec<Device>, Error> {
        let links: Vec<LinkMessage> = self
            .handle
            .link()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(Error::netlink("list devices"))?;
        Ok(links.into_iter().filter_map(device).collect())
    }

    /// The gateway's own addresses, as the programs want to know them.
    pub(crate) async fn addresses(&self) -> Result<Vec<(IpAddr, AddressKind)>, Error> {
        let messages: Vec<AddressMessage> = self
            .handle
            .address()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(Error::netlink("list addresses"))?;
        Ok(messages.iter().flat_map(address).collect())
    }
}

fn device(message: LinkMessage) -> Option<Device> {
    let name = message
        .attributes
        .into_iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name),
            _ => None,
        })?;
    Some(Device {
        name,
        index: message.header.index,
        arphrd: message.header.link_layer_type.into(),
    })
}

fn address(message: &AddressMessage) -> Vec<(IpAddr, AddressKind)> {
    let (mut local, mut peer, mut broadcast) = (None, None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => local = Some(*address),
            AddressAttribute::Address(address) => peer = Some(*address),
            AddressAttribute::Broadcast(address) => broadcast = Some(*address),
            _ => {}
        }
    }
    // IFA_ADDRESS is the other end of a point-to-point link where IFA_LOCAL is given.
    let Some(own) = local.or(peer) else {
        return Vec::new();
    };
    gateway::own_addresses(own, message.header.prefix_len, broadcast)
}

/// Something about devices, addresses or rules changed; says only that.
pub(crate) struct Changes {
    stream: BoxStream<'static, ()>,
    driver: JoinHandle<()>,
}

impl Drop for Changes {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Changes {
    /// Listens in the network namespace of the calling thread, from now on.
    pub(crate) fn listen() -> Result<Self, Error> {
        let (connection, _, messages) = new_multicast_connection(&[
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv4Rule,
            MulticastGroup::Ipv6Rule,
        ])
        .map_err(Error::NetlinkSocket)?;
        // What changed is not read from the message: a burst may overrun the socket, and a fresh
        // look at everything is right after any of them.
        let stream = quiet(messages.map(|_| ())).boxed();
        Ok(Self {
            stream,
            driver: tokio::spawn(connection),
        })
    }

    /// Waits for a change, or several at once; `None` when the socket is gone.
    pub(crate) async fn next(&mut self) -> Option<()> {
        self.stream.next().await
    }
}

/// Folds what is ready at once into one item.
fn quiet(stream: impl Stream<Item = ()>) -> impl Stream<Item = ()> {
    stream.ready_chunks(1024).map(|_| ())
}

/// The error number of a refused request.
pub(crate) fn errno(error: &rtnetlink::Error) -> Option<Errno> {
    match error {
        rtnetlink::Error::NetlinkError(message) => {
            Some(Errno::from_raw_os_error(message.raw_code().abs()))
        }
        _ => None,
    }
}
