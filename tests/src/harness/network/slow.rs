//! Slow links. Not by `tc netem`, which many kernels are built without: what comes in from a host goes
//! through a queue of netfilter (`iptables -j NFQUEUE`), and a thread here lets each packet pass when it is
//! due, or never. Every kernel with iptables has that.

use std::{
    collections::VecDeque,
    io::ErrorKind,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result};
use nfq::{Message, Queue, Verdict};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use upshift_shared::clock::Stopwatch;

use super::namespace::Namespaces;

/// How often the thread looks for packets that are due.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// So many packets wait at most; the kernel drops what comes then.
const MAX_WAITING: u32 = 16384;
/// So much of a packet is read: what it says is of no interest.
const BYTES_READ: u16 = 64;
/// How long the kernel may take to set up a queue.
const START_DEADLINE: Duration = Duration::from_secs(10);

/// What happens to packets in one direction of a link.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slowness {
    /// How much later each arrives.
    pub delay: Duration,
    /// Which share of them does not, from 0 to 1.
    pub loss: f64,
    /// Which ones those are.
    pub seed: u64,
}

/// A queue that is served until this is dropped; what waits then arrives at once.
#[derive(Debug)]
pub(super) struct SlowLink {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl SlowLink {
    /// Serves this queue of the receiving host.
    ///
    /// # Errors
    /// Where the kernel has no such queues.
    pub(super) fn serve(to: Arc<Namespaces>, number: u16, how: Slowness) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let (ready, is_ready) = mpsc::sync_channel(1);
        let thread = thread::spawn(move || match open(&to, number) {
            Ok(queue) => {
                let _told = ready.send(Ok(()));
                if let Err(error) = serve(queue, how, &stopped) {
                    eprintln!("a slow link fails, and nothing comes through any more: {error}");
                }
            }
            Err(error) => {
                let _told = ready.send(Err(error));
            }
        });
        let link = Self {
            stop,
            thread: Some(thread),
        };
        is_ready
            .recv_timeout(START_DEADLINE)
            .context("a slow link was not set up in time")??;
        Ok(link)
    }
}

impl Drop for SlowLink {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let _ended = self.thread.take().map(JoinHandle::join);
    }
}

fn open(to: &Namespaces, number: u16) -> Result<Queue> {
    to.enter()?;
    let mut queue = Queue::open().context("opening a queue of netfilter")?;
    queue.bind(number).context("binding a queue of netfilter")?;
    queue.set_copy_range(number, BYTES_READ)?;
    queue.set_queue_max_len(number, MAX_WAITING)?;
    // Else the kernel cuts large packets up before they come here.
    queue.set_recv_gso(number, true)?;
    queue.set_nonblocking(true);
    Ok(queue)
}

fn serve(mut queue: Queue, how: Slowness, stop: &AtomicBool) -> std::io::Result<()> {
    let mut random = StdRng::seed_from_u64(how.seed);
    let mut waiting: VecDeque<(Stopwatch, Message)> = VecDeque::new();
    while !stop.load(Ordering::Acquire) {
        loop {
            match queue.recv() {
                Ok(mut packet) if random.random_bool(how.loss) => {
                    packet.set_verdict(Verdict::Drop);
                    queue.verdict(packet)?;
                }
                Ok(packet) => waiting.push_back((Stopwatch::start(), packet)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        while let Some((came, _)) = waiting.front()
            && came.elapsed() >= how.delay
            && let Some((_, packet)) = waiting.pop_front()
        {
            pass(&mut queue, packet)?;
        }
        thread::sleep(LOOK_AGAIN);
    }
    for (_, packet) in waiting {
        pass(&mut queue, packet)?;
    }
    Ok(())
}

fn pass(queue: &mut Queue, mut packet: Message) -> std::io::Result<()> {
    packet.set_verdict(Verdict::Accept);
    queue.verdict(packet)
}
