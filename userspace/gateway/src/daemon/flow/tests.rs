use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};

use super::*;
use crate::config::Config;
use crate::daemon::guard::Guard;
use crate::daemon::metrics::WorkerMetrics;
use crate::daemon::record::AccessLog;
use crate::daemon::worker::Shared;

fn worker() -> Rc<Worker> {
    let config = Config::parse("[gateway]\nlan = [\"lan0\"]\n", "test").unwrap();
    let shared = Shared {
        capacity: 10,
        ready: AtomicBool::new(true),
        ..Shared::new(
            Generation::new(1, &config).unwrap(),
            Guard::allowing_loopback(1),
            AccessLog::new(Vec::new()),
        )
        .unwrap()
    };
    let metrics = WorkerMetrics::default();
    Rc::new(Worker::new(Arc::new(shared), Arc::new(metrics)))
}

fn runtime() -> LocalRuntime {
    Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .unwrap()
}

async fn arrived() -> (Arrived, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let destination = listener.local_addr().unwrap();
    let client = TcpStream::connect(destination).await.unwrap();
    let (stream, address) = listener.accept().await.unwrap();
    let arrived = Arrived {
        stream,
        client: address,
        destination,
    };
    (arrived, client)
}

#[test]
fn h12_a_panic_ends_one_flow_and_resets_it() {
    let worker = worker();
    runtime().block_on(async {
        let (arrived, client) = arrived().await;
        let mine = Rc::clone(&worker);
        let task = tokio::task::spawn_local(async move {
            let known = Known::new(arrived.client, arrived.destination, 0);
            let _flow = Flow::begin(&mine, mine.generation(), known);
            let _leg = Leg::new(arrived.stream);
            let limits = &mine.shared.limits;
            let _place = limits.admit([127, 0, 0, 1].into(), 9, 9).unwrap();
            panic!("injected");
        });
        assert!(task.await.unwrap_err().is_panic());
        client.readable().await.unwrap();
        let error = client.try_read(&mut [0; 1]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    });
    assert_eq!(worker.metrics.panics.load(Ordering::Relaxed), 1);
    assert_eq!(worker.metrics.ends().get(&Reason::Internal), Some(&1));
    assert_eq!((worker.active(), worker.shared.limits.active()), (0, 0));
}

#[test]
fn what_is_cut_off_is_reset_and_recorded_as_drained() {
    let worker = worker();
    let runtime = runtime();
    let client = runtime.block_on(async {
        let (arrived, client) = arrived().await;
        let mine = Rc::clone(&worker);
        tokio::task::spawn_local(async move { serve(&mine, arrived).await });
        tokio::task::yield_now().await;
        client.into_std().unwrap()
    });
    assert_eq!(worker.active(), 1);
    drop(runtime);
    assert_eq!(worker.metrics.ends().get(&Reason::Drained), Some(&1));
    assert_eq!((worker.active(), worker.shared.limits.active()), (0, 0));
    client.set_nonblocking(false).unwrap();
    let error = std::io::Read::read(&mut &client, &mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn a_flow_is_small() {
    let worker = worker();
    let size = runtime().block_on(async {
        let (arrived, _client) = arrived().await;
        size_of_val(&serve(&worker, arrived))
    });
    assert!(size <= 1536, "the state of a flow takes {size} bytes");
}
