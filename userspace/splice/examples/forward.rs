//! Forwards connections from one address to another through the relay: the splice path alone.
//!
//!     forward LISTEN TARGET [copy]

use std::net::SocketAddr;
use std::rc::Rc;

use sluice_splice::{
    DialOptions, ListenOptions, Options, PipePool, PoolOptions, Progress, abort, dial, listen,
    relay,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut address = || arguments.next().ok_or("forward LISTEN TARGET [copy]");
    let from: SocketAddr = address()?.parse()?;
    let to: SocketAddr = address()?.parse()?;
    let limit = if address().is_ok() {
        0
    } else {
        PoolOptions::default().limit
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())?;
    runtime.block_on(async {
        let pool = Rc::new(PipePool::new(PoolOptions {
            limit,
            ..PoolOptions::default()
        }));
        let options = ListenOptions {
            transparent: false,
            ..ListenOptions::default()
        };
        let dialling = DialOptions {
            bytes_follow: true,
            ..DialOptions::default()
        };
        let listener = listen(from, &options)?;
        loop {
            let (client, _) = listener.accept().await?;
            let pool = Rc::clone(&pool);
            tokio::task::spawn_local(async move {
                let Ok(origin) = dial(to, &dialling).await else {
                    return;
                };
                let outcome = relay(
                    &client,
                    &origin,
                    Vec::new(),
                    &pool,
                    &Options::default(),
                    &Progress::default(),
                )
                .await;
                if outcome.end.is_abrupt() {
                    // Closing does the rest, whether or not the option was taken.
                    let _ = abort(&client).and_then(|()| abort(&origin));
                }
            });
        }
    })
}
