//! One sender, many readers: measures the rate and the latency of deliveries.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::dialect::{Dialect, Job};
use super::link::{Link, Shared};
use super::measurement::{Measurement, Pace};
use super::place::Place;
use super::ramp::open_all;
use super::schedule::at_rate;
use super::tally::{Tally, Task, check};

/// Delay between attempts to write to a full socket. The stall detection bounds the time of a run.
const RETRY: Duration = Duration::from_millis(1);

/// The parameters.
#[derive(Debug, Clone, Copy)]
pub struct Broadcast {
    /// Number of readers; the sender is one more connection.
    pub readers: usize,
    /// When the next message is sent: with a window, that many are sent together, and the next ones once every reader has them.
    pub pace: Pace,
    /// Warm-up time.
    pub warm_up: Duration,
    /// Measurement time.
    pub duration: Duration,
    /// How long the server may be silent.
    pub patience: Duration,
}

/// The send time (or scheduled time) of the messages, by number, for readers to look up. Every reader receives all, in order.
type Moments = Rc<RefCell<Vec<Instant>>>;

/// Runs the load on a `LocalSet`. `make` returns the dialect of the sender ([`Job::Speak`], opened first) and of each reader
/// ([`Job::Listen`]); `measure` is called at the start and at the end of the measured time.
///
/// # Errors
/// A connection fails, or a delivery is missing for longer than the patience.
pub async fn broadcast(
    place: &Place,
    plan: Broadcast,
    mut make: impl FnMut(Job, usize) -> anyhow::Result<Box<dyn Dialect>>,
    mut measure: impl FnMut(),
) -> anyhow::Result<Measurement> {
    check(plan.readers, if let Pace::Window(window) = plan.pace { window } else { 1 })?;
    let (tally, shared, started) = (Tally::new()?, Shared::new(plan.patience), Instant::now());
    let speaker = Link::open(place, None, make(Job::Speak, 0)?, &shared).await?;
    let readers = open_all(place, plan.readers, &shared, |index| make(Job::Listen, index + 1)).await?;
    let opened_in = started.elapsed();
    let moments: Moments = Rc::default();
    let mut tasks: Vec<Task> = readers
        .into_iter()
        .map(|link| tally.spawn(take_deliveries(link, Rc::clone(&moments), Rc::clone(&tally))))
        .collect();
    let speaker = Rc::new(RefCell::new(speaker));
    tasks.push(tally.spawn(drain_sender(Rc::clone(&speaker))));
    let (answered, took, lag) = match plan.pace {
        Pace::Window(together) => {
            let work = in_turns(&speaker, together, plan, &moments, &tally, &mut measure);
            let (answered, took) = tally.watch(plan.patience, work).await?;
            (answered, took, None)
        }
        Pace::Rate(rate) => {
            let work = at(rate, &speaker, plan, &moments, &tally, &mut measure);
            let (answered, took, lag) = tally.watch(plan.patience, work).await?;
            (answered, took, Some(lag))
        }
    };
    drop(tasks);
    let latency = tally.latency.borrow().clone();
    Ok(Measurement { answered, took, latency, lag, opened_in, blocked: shared.blocked() })
}

/// Reads what the server sends to the sender, and writes what did not fit its socket.
async fn drain_sender(speaker: Rc<RefCell<Link>>) -> anyhow::Result<()> {
    loop {
        std::future::poll_fn(|context| speaker.borrow_mut().poll_receive(context)).await?;
    }
}

async fn take_deliveries(mut link: Link, moments: Moments, tally: Rc<Tally>) -> anyhow::Result<()> {
    let mut next = 0;
    loop {
        let count = usize::try_from(link.receive().await?).unwrap_or(usize::MAX);
        let moments = moments.borrow();
        // Messages of others in the same room are deliveries, too, but their send time is unknown.
        let known = next.min(moments.len())..next.saturating_add(count).min(moments.len());
        next = next.saturating_add(count);
        tally.count(moments[known.clone()].iter().copied());
        tally.add((count - known.len()) as u64);
    }
}

async fn in_turns(
    speaker: &Rc<RefCell<Link>>,
    together: usize,
    plan: Broadcast,
    moments: &Moments,
    tally: &Rc<Tally>,
    measure: &mut impl FnMut(),
) -> anyhow::Result<(u64, Duration)> {
    let (mut sent, begun, mut from) = (0_u64, Instant::now(), None);
    loop {
        tally.expected.set(tally.answered.get() + (together * plan.readers) as u64);
        let now = Instant::now();
        for _ in 0..together {
            sent += 1;
            moments.borrow_mut().push(now);
            speaker.borrow_mut().send(sent);
        }
        speaker.borrow_mut().finish();
        write_out(speaker).await?;
        while tally.answered.get() < tally.expected.get() {
            tally.arrived.notified().await;
        }
        match from {
            None if begun.elapsed() > plan.warm_up => {
                measure();
                from = Some((tally.begin(), Instant::now()));
            }
            Some((before, at)) if at.elapsed() > plan.duration => {
                let (answered, took) = (tally.answered.get() - before, at.elapsed());
                measure();
                tally.done.set(true);
                return Ok((answered, took));
            }
            _ => {}
        }
    }
}

/// Writes everything queued, however long the socket takes; nothing else would flush it.
async fn write_out(speaker: &RefCell<Link>) -> anyhow::Result<()> {
    while !written(&mut speaker.borrow_mut())? {
        tokio::time::sleep(RETRY).await;
    }
    Ok(())
}

fn written(speaker: &mut Link) -> anyhow::Result<bool> {
    speaker.write_now()?;
    Ok(!speaker.is_waiting())
}

async fn at(
    rate: u64,
    speaker: &Rc<RefCell<Link>>,
    plan: Broadcast,
    moments: &Moments,
    tally: &Rc<Tally>,
    measure: &mut impl FnMut(),
) -> anyhow::Result<(u64, Duration, Histogram<u64>)> {
    let (mut from, sent) = ((0, Instant::now()), Cell::new(0_u64));
    let begin = || {
        measure();
        from = (tally.begin(), Instant::now());
    };
    let lag = at_rate(rate, plan.warm_up, plan.duration, begin, |count, planned| {
        sent.set(count + 1);
        moments.borrow_mut().push(planned);
        let mut speaker = speaker.borrow_mut();
        speaker.send(count + 1);
        speaker.finish();
        speaker.write_now()
    })
    .await?;
    let took = from.1.elapsed();
    measure();
    write_out(speaker).await?;
    tally.expected.set(sent.get() * plan.readers as u64);
    while tally.answered.get() < tally.expected.get() {
        tally.arrived.notified().await;
    }
    tally.done.set(true);
    Ok((tally.answered.get() - from.0, took, lag))
}
