//! Each message is answered to its sender: echo, and publish with ack.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::ensure;

use super::dialect::Dialect;
use super::link::{Link, Shared};
use super::measurement::{Measurement, Pace};
use super::place::Place;
use super::ramp::open_all;
use super::schedule::at_rate;
use super::tally::{Tally, check};

/// The parameters.
#[derive(Debug, Clone, Copy)]
pub struct Exchange {
    /// Number of connections, all alike.
    pub connections: usize,
    /// When the next message is sent.
    pub pace: Pace,
    /// Warm-up time.
    pub warm_up: Duration,
    /// Measurement time.
    pub duration: Duration,
    /// How long the server may be silent.
    pub patience: Duration,
}

/// Runs the load on a `LocalSet`. `make` returns the dialect of each connection; `measure` is called at the start and at
/// the end of the measured time.
///
/// # Errors
/// A connection fails, or nothing is answered for longer than the patience.
pub async fn exchange(
    place: &Place,
    plan: Exchange,
    make: impl FnMut(usize) -> anyhow::Result<Box<dyn Dialect>>,
    mut measure: impl FnMut(),
) -> anyhow::Result<Measurement> {
    let window = if let Pace::Window(window) = plan.pace { window } else { 1 };
    check(plan.connections, window)?;
    let (tally, shared, started) = (Tally::new()?, Shared::new(plan.patience), Instant::now());
    let links = open_all(place, plan.connections, &shared, make).await?;
    let opened_in = started.elapsed();
    let mut measured = match plan.pace {
        Pace::Window(window) => in_window(links, plan, window, &tally, &mut measure).await?,
        Pace::Rate(rate) => at(rate, links, plan, &tally, &mut measure).await?,
    };
    (measured.opened_in, measured.blocked) = (opened_in, shared.blocked());
    Ok(measured)
}

async fn in_window(
    links: Vec<Link>,
    plan: Exchange,
    window: usize,
    tally: &Rc<Tally>,
    measure: &mut impl FnMut(),
) -> anyhow::Result<Measurement> {
    let _tasks: Vec<_> =
        links.into_iter().map(|link| tally.spawn(keep_window(link, window, Rc::clone(tally)))).collect();
    let work = async {
        tokio::time::sleep(plan.warm_up).await;
        measure();
        let (before, from) = (tally.begin(), Instant::now());
        tokio::time::sleep(plan.duration).await;
        let answered = tally.answered.get() - before;
        let took = from.elapsed();
        measure();
        let seconds = (plan.warm_up + plan.duration).as_secs_f64();
        ensure!(
            tally.answered.get() > 0,
            "nothing came back in {seconds:.1} s: the server hangs, or does another job than the requested one"
        );
        tally.done.set(true);
        Ok((answered, took))
    };
    let (answered, took) = tally.watch(plan.patience, work).await?;
    Ok(finished(tally, answered, took))
}

async fn keep_window(mut link: Link, window: usize, tally: Rc<Tally>) -> anyhow::Result<()> {
    let (mut serial, mut free) = (0, window);
    let mut sent: VecDeque<Instant> = VecDeque::with_capacity(window);
    while !tally.done.get() {
        let now = Instant::now();
        for _ in 0..free {
            serial += 1;
            link.send(serial);
            sent.push_back(now);
        }
        link.finish();
        let answers = link.receive().await?;
        free = sent.len().min(usize::try_from(answers).unwrap_or(usize::MAX));
        tally.count(sent.drain(..free));
    }
    Ok(())
}

/// A link and the scheduled times of its messages in flight.
struct Paced {
    link: Link,
    serial: u64,
    planned: VecDeque<Instant>,
}

async fn at(
    rate: u64,
    links: Vec<Link>,
    plan: Exchange,
    tally: &Rc<Tally>,
    measure: &mut impl FnMut(),
) -> anyhow::Result<Measurement> {
    let links: Vec<_> = links
        .into_iter()
        .map(|link| Rc::new(RefCell::new(Paced { link, serial: 0, planned: VecDeque::new() })))
        .collect();
    let _tasks: Vec<_> =
        links.iter().map(|link| tally.spawn(take_answers(Rc::clone(link), Rc::clone(tally)))).collect();
    let work = async {
        let mut from = (0, Instant::now());
        let begin = || {
            measure();
            from = (tally.begin(), Instant::now());
        };
        let lag = at_rate(rate, plan.warm_up, plan.duration, begin, |count, planned| {
            let mut paced = links[count as usize % links.len()].borrow_mut();
            let paced = &mut *paced;
            paced.serial += 1;
            paced.planned.push_back(planned);
            paced.link.send(paced.serial);
            paced.link.finish();
            paced.link.write_now()
        })
        .await?;
        let took = from.1.elapsed();
        measure();
        wait_for_the_last(&links, plan.patience).await?;
        tally.done.set(true);
        Ok((tally.answered.get() - from.0, took, lag))
    };
    let (answered, took, lag) = tally.watch(plan.patience, work).await?;
    Ok(Measurement { lag: Some(lag), ..finished(tally, answered, took) })
}

async fn take_answers(paced: Rc<RefCell<Paced>>, tally: Rc<Tally>) -> anyhow::Result<()> {
    loop {
        let answers = std::future::poll_fn(|context| paced.borrow_mut().link.poll_receive(context)).await?;
        let mut paced = paced.borrow_mut();
        let count = paced.planned.len().min(usize::try_from(answers).unwrap_or(usize::MAX));
        tally.count(paced.planned.drain(..count));
    }
}

/// Waits for all answers: missing ones would distort the latencies.
async fn wait_for_the_last(links: &[Rc<RefCell<Paced>>], patience: Duration) -> anyhow::Result<()> {
    let since = Instant::now();
    loop {
        // Nothing else flushes what did not fit the socket.
        links.iter().try_for_each(|link| link.borrow_mut().link.write_now())?;
        let missing: usize = links.iter().map(|link| link.borrow().planned.len()).sum();
        if missing == 0 {
            return Ok(());
        }
        ensure!(since.elapsed() < patience, "{missing} messages were never answered");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn finished(tally: &Tally, answered: u64, took: Duration) -> Measurement {
    let latency = tally.latency.borrow().clone();
    Measurement { answered, took, latency, lag: None, opened_in: Duration::ZERO, blocked: 0 }
}
