//! Listeners and dialled connections.

use std::net::SocketAddr;
use std::time::Duration;

use sluice_splice::{DialError, DialOptions, ListenOptions, dial, listen, original_destination};
use socket2::SockRef;

use crate::support::{alone, listener, run};

#[test]
fn workers_share_a_port_and_a_dialled_address_is_the_original_destination() {
    let _alone = alone();
    run(async {
        for ipv6 in [false, true] {
            let first = listener(ipv6);
            let address = first.local_addr().unwrap();
            let options = ListenOptions {
                transparent: false,
                ..ListenOptions::default()
            };
            let second = listen(address, &options).unwrap();
            let dialled = dial(address, &DialOptions::default()).await.unwrap();
            let (accepted, client) = tokio::select! {
                accepted = first.accept() => accepted.unwrap(),
                accepted = second.accept() => accepted.unwrap(),
            };
            assert_eq!(client, dialled.local_addr().unwrap());
            assert_eq!(original_destination(&accepted).unwrap(), address);
            for socket in [SockRef::from(&accepted), SockRef::from(&dialled)] {
                assert!(socket.tcp_nodelay().unwrap());
                assert!(socket.out_of_band_inline().unwrap());
            }
        }
    });
}

#[test]
fn a_refusal_is_told_apart_from_silence() {
    let _alone = alone();
    run(async {
        let closed = listener(false);
        let address = closed.local_addr().unwrap();
        drop(closed);
        let refused = dial(address, &DialOptions::default()).await;
        assert!(matches!(refused, Err(DialError::Refused)), "{refused:?}");

        // A backlog that is full makes the kernel ignore further attempts.
        let full =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        full.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into())
            .unwrap();
        full.listen(0).unwrap();
        let address = full.local_addr().unwrap().as_socket().unwrap();
        let options = DialOptions {
            timeout: Duration::from_millis(150),
            ..Default::default()
        };
        let _first = dial(address, &options).await.unwrap();
        let late = dial(address, &options).await;
        assert!(matches!(late, Err(DialError::TimedOut)), "{late:?}");
    });
}

#[test]
#[ignore = "root: cargo xtask test"]
fn a_transparent_listener_carries_the_mark_to_what_it_accepts() {
    let _alone = alone();
    run(async {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let options = ListenOptions {
                mark: 0x5000_0000,
                ..ListenOptions::default()
            };
            let listener = listen(address.parse().unwrap(), &options).unwrap();
            let address = listener.local_addr().unwrap();
            let options = DialOptions {
                mark: 0x5000_0000,
                ..DialOptions::default()
            };
            let (dialled, accepted) = tokio::join!(dial(address, &options), listener.accept());
            let (dialled, accepted) = (dialled.unwrap(), accepted.unwrap().0);
            assert_eq!(SockRef::from(&dialled).mark().unwrap(), 0x5000_0000);
            assert_eq!(SockRef::from(&accepted).mark().unwrap(), 0x5000_0000);
        }
    });
}
