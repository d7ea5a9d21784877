//! Two models on one machine.

use std::sync::atomic::AtomicUsize;
use std::task::Wake;

use super::*;
use crate::infer::Interest;
use crate::tensor::Signature;

struct Idle;

impl Engine for Idle {
    fn run(&mut self, _inputs: &[Tensor], _outputs: &[ByteString], _interest: &Interest) -> Result<Vec<Tensor>> {
        Ok(Vec::new())
    }
}

struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn model(name: &str, shares: &Arc<CpuShares>) -> Runners {
    let engines: Vec<Box<dyn Engine>> = vec![Box::new(Idle), Box::new(Idle)];
    let loaded = Loaded { signature: Signature::default(), device: "cpu".into(), engines, arenas: Vec::new() };
    let identity = Identity { model: name.parse().unwrap(), version: Version::new(1).unwrap() };
    let cpu = CpuUse { shares: shares.clone(), threads: 1 };
    Runners::start(identity, loaded, Some(cpu), Arc::default()).unwrap()
}

#[test]
fn models_share_the_cpus_and_no_more_slots_are_granted_than_there_are() {
    let (shares, woken) = (CpuShares::new(2), Arc::new(Woken(AtomicUsize::new(0))));
    let waker = Waker::from(woken.clone());
    let mut cx = Context::from_waker(&waker);
    let waiting = Backlog { calls: 1, rows: 1, bytes: 0, earliest_deadline: Instant::now() };
    let (mut first, mut second) = (model("first", &shares), model("second", &shares));

    let Poll::Ready(slot) = first.poll_slot(&mut cx, &waiting) else { panic!("a CPU is free") };
    let Poll::Ready(other) = first.poll_slot(&mut cx, &waiting) else { panic!("another is") };
    assert!(second.poll_slot(&mut cx, &waiting).is_pending(), "both CPUs are taken by the first model");
    drop(slot);
    assert_eq!(woken.0.load(Ordering::Relaxed), 1);
    assert!(second.poll_slot(&mut cx, &waiting).is_ready());
    drop(other);
}
